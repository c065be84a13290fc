// What the studio adds to viser's page. Runs once for every connection.
(() => {
  document.title = "scr3d studio";
  document.documentElement.lang = "en";

  const addStyle = () => {
    if (document.getElementById("scr3d-style")) return;
    const style = document.createElement("style");
    style.id = "scr3d-style";
    style.textContent = `
      body.scr3d-drop::after {
        content: "Drop the photo"; position: fixed; inset: 0; z-index: 1000; display: grid; place-items: center;
        font: 600 1.5rem system-ui, sans-serif; color: #fff; background: rgba(31, 78, 121, .75); pointer-events: none;
      }
      :focus-visible { outline: 2px solid #4c9be8 !important; outline-offset: 2px; }
      @media (max-width: 36em) {
        [style*="width: 20em"] { width: 100vw !important; max-width: 100vw !important; }
        .mantine-Notifications-root { left: .5rem !important; width: calc(100vw - 1rem) !important; }
        .mantine-Notification-root { max-width: 100% !important; }
      }`;
    document.head.append(style);
  };

  // The upload button's own file input takes the dropped file, so that it goes the same way as a chosen one.
  const fileInput = () => document.querySelector('input[type="file"][name="file"]');
  const holdsFiles = (event) => event.dataTransfer && [...event.dataTransfer.types].includes("Files");
  const onDragOver = (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    document.body.classList.add("scr3d-drop");
  };
  const onDragLeave = (event) => {
    if (event.relatedTarget === null) document.body.classList.remove("scr3d-drop");
  };
  const onDrop = (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    document.body.classList.remove("scr3d-drop");
    const input = fileInput();
    if (!input || event.dataTransfer.files.length === 0) return;
    const chosen = new DataTransfer();
    chosen.items.add(event.dataTransfer.files[0]);
    input.files = chosen.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };

  // viser's sliders, boxes and tabs have no names or no place in the order of the tab key.
  const nameOf = (element) => {
    for (let parent = element.parentElement, steps = 0; parent && steps < 7; parent = parent.parentElement, steps++) {
      const label = parent.querySelector("label");
      if (label && label.textContent.trim()) return label.textContent.trim();
    }
    return "";
  };
  const nameAll = () => {
    for (const element of document.querySelectorAll('[role="slider"], input:not([type="file"]):not([type="hidden"])')) {
      if (!element.getAttribute("aria-label") && !(element.labels && element.labels.length)) {
        const name = nameOf(element);
        if (name) element.setAttribute("aria-label", name);
      }
    }
    for (const input of document.querySelectorAll('input[type="file"]')) input.setAttribute("aria-label", "photo");
    const canvas = document.querySelector("canvas[data-engine]");
    if (canvas && !canvas.getAttribute("aria-label")) {
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", "The reconstructed object in 3D; drag to turn it");
    }
  };

  addStyle();
  if (!window.scr3dStudio) {
    window.scr3dStudio = true;
    document.addEventListener("dragover", onDragOver);
    document.addEventListener("dragleave", onDragLeave);
    document.addEventListener("drop", onDrop);
    let waiting = false;
    new MutationObserver(() => {
      if (waiting) return;
      waiting = true;
      setTimeout(() => { waiting = false; nameAll(); }, 200);
    }).observe(document.body, { childList: true, subtree: true });
  }
  nameAll();
  const key = "viser-user:scr3d-dark";
  if (localStorage.getItem(key) === null) {
    localStorage.setItem(key, matchMedia("(prefers-color-scheme: dark)").matches ? "yes" : "no");
  }
})();
