"use strict";
// Animations play while they are on the screen; meshes are drawn by one shared WebGL context.
(() => {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const whenSeen = (element, enter, leave) => {
    new IntersectionObserver((entries) => {
      for (const entry of entries) (entry.isIntersecting ? enter : leave)();
    }, { rootMargin: "100px" }).observe(element);
  };

  if (!still) {
    for (const video of document.querySelectorAll("video")) {
      let paused = false;
      video.controls = false;
      video.addEventListener("click", () => {
        paused = !video.paused;
        if (paused) video.pause(); else video.play();
      });
      whenSeen(video, () => { if (!paused) video.play().catch(() => { video.controls = true; }); }, () => video.pause());
    }
  }

  const VERTEX = `
    attribute vec3 position; attribute vec3 normal; attribute vec2 texel;
    uniform vec2 turn; uniform vec2 focal;
    varying vec2 at; varying vec3 facing;
    vec3 turned(vec3 p) {
      float sy = sin(turn.x), cy = cos(turn.x), sx = sin(turn.y), cx = cos(turn.y);
      vec3 q = vec3(cy * p.x + sy * p.z, p.y, cy * p.z - sy * p.x);
      return vec3(q.x, cx * q.y - sx * q.z, sx * q.y + cx * q.z);
    }
    void main() {
      vec3 seen = turned(position - vec3(0.0, 0.0, 1.0)) + vec3(0.0, 0.0, 1.0);
      at = texel; facing = turned(normal);
      // Near plane 0.5, far plane 1.5, in units of the camera distance.
      gl_Position = vec4(seen.x * focal.x, -seen.y * focal.y, 2.0 * seen.z - 1.5, seen.z);
    }`;
  const FRAGMENT = `
    precision mediump float;
    varying vec2 at; varying vec3 facing;
    uniform sampler2D texture; uniform float plaster;
    void main() {
      float lit = 0.25 + 0.9 * max(0.0, dot(normalize(facing), normalize(vec3(0.5, 0.5, 1.0))));
      gl_FragColor = vec4(mix(texture2D(texture, at).rgb, vec3(0.75 * lit), plaster), 1.0);
    }`;

  const screen = document.createElement("canvas");
  const gl = screen.getContext("webgl", { antialias: true, premultipliedAlpha: true });
  if (!gl) return; // The boxes stay hidden; the turntable animation shows the shape.

  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return;
  gl.useProgram(program);
  gl.enable(gl.DEPTH_TEST);
  const uniform = (name) => gl.getUniformLocation(program, name);

  const buffer = (kind, values) => {
    const made = gl.createBuffer();
    gl.bindBuffer(kind, made);
    gl.bufferData(kind, values, gl.STATIC_DRAW);
    return made;
  };

  // x right, y down, z forward, as in scr3d; the mesh turns about (0, 0, 1).
  const buildMesh = (data, image) => {
    const bytes = Uint8Array.from(atob(data.depth), (c) => c.charCodeAt(0));
    const codes = new DataView(bytes.buffer);
    const { rows, columns, near, far, trim } = data;
    // The corner texels lie on the corner pixels of the depth map.
    const texelAt = (pixel, pixels, texels) => (pixel * (texels - 1) / (pixels - 1) + 0.5) / texels;
    const focal = (columns - 1) / 2 / data.tangent;
    const point = (row, column) => {
      const z = far - codes.getUint16(2 * (row * columns + column), true) / 65535 * (far - near);
      return [(column - (columns - 1) / 2) / focal * z, (row - (rows - 1) / 2) / focal * z, z];
    };
    const position = [], normal = [], texel = [], index = [];
    const first = trim, last = columns - 1 - trim, across = last - first + 1;
    for (let row = 0; row < rows; row++) {
      for (let column = first; column <= last; column++) {
        position.push(...point(row, column));
        texel.push(texelAt(column, columns, image.naturalWidth), texelAt(row, rows, image.naturalHeight));
        const l = point(row, Math.max(column - 1, first)), r = point(row, Math.min(column + 1, last));
        const u = point(Math.max(row - 1, 0), column), d = point(Math.min(row + 1, rows - 1), column);
        const a = r.map((value, k) => value - l[k]), b = d.map((value, k) => value - u[k]);
        const n = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
        const length = Math.hypot(...n) || 1;
        normal.push(...n.map((value) => value / length));
        if (row + 1 < rows && column < last) {
          const corner = row * across + column - first;
          index.push(corner, corner + across, corner + 1, corner + 1, corner + across, corner + across + 1);
        }
      }
    }
    return {
      count: index.length,
      position: buffer(gl.ARRAY_BUFFER, new Float32Array(position)),
      normal: buffer(gl.ARRAY_BUFFER, new Float32Array(normal)),
      texel: buffer(gl.ARRAY_BUFFER, new Float32Array(texel)),
      index: buffer(gl.ELEMENT_ARRAY_BUFFER, new Uint16Array(index)),
    };
  };

  const buildTexture = (image) => {
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, image);
    for (const [name, value] of [["WRAP_S", "CLAMP_TO_EDGE"], ["WRAP_T", "CLAMP_TO_EDGE"],
      ["MIN_FILTER", "LINEAR"], ["MAG_FILTER", "LINEAR"]]) {
      gl.texParameteri(gl.TEXTURE_2D, gl["TEXTURE_" + name], gl[value]);
    }
    return texture;
  };

  const draw = (view) => {
    const { canvas, data, mesh } = view;
    screen.width = canvas.width;
    screen.height = canvas.height;
    gl.viewport(0, 0, screen.width, screen.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.bindTexture(gl.TEXTURE_2D, view.texture);
    for (const [name, length] of [["position", 3], ["normal", 3], ["texel", 2]]) {
      const place = gl.getAttribLocation(program, name);
      gl.bindBuffer(gl.ARRAY_BUFFER, mesh[name]);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, length, gl.FLOAT, false, 0, 0);
    }
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, mesh.index);
    const zoom = 0.85 / data.tangent; // A little room around the frame, for what a turn brings out.
    gl.uniform2f(uniform("turn"), view.yaw, view.pitch);
    gl.uniform2f(uniform("focal"), zoom, zoom);
    gl.uniform1f(uniform("plaster"), view.plaster ? 1 : 0);
    gl.drawElements(gl.TRIANGLES, mesh.count, gl.UNSIGNED_SHORT, 0);
    const target = canvas.getContext("2d");
    target.clearRect(0, 0, canvas.width, canvas.height);
    target.drawImage(screen, 0, 0);
  };

  const listen = (view) => {
    const { canvas } = view;
    const turn = (yaw, pitch) => {
      view.yaw = Math.min(1.3, Math.max(-1.3, view.yaw + yaw));
      view.pitch = Math.min(0.9, Math.max(-0.9, view.pitch + pitch));
      requestAnimationFrame(() => draw(view));
    };
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      if (canvas.hasPointerCapture(event.pointerId)) turn(-event.movementX * 0.01, event.movementY * 0.01);
    });
    const steps = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
    canvas.addEventListener("keydown", (event) => {
      if (!(event.key in steps)) return;
      event.preventDefault();
      turn(...steps[event.key]);
    });
    view.box.querySelector("input").addEventListener("change", (event) => {
      view.plaster = event.target.checked;
      draw(view);
    });
  };

  const start = (box) => {
    const data = JSON.parse(box.querySelector("script").textContent);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 512;
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "3D model; drag or use the arrow keys to turn it");
    const image = new Image();
    image.onload = () => {
      const view = { box, canvas, data, mesh: buildMesh(data, image), texture: buildTexture(image), yaw: 0.5, pitch: -0.1,
        plaster: false };
      box.prepend(canvas);
      listen(view);
      draw(view);
    };
    image.src = data.texture;
  };
  for (const box of document.querySelectorAll(".viewer")) {
    let started = false;
    box.hidden = false;
    whenSeen(box, () => { if (!started) { started = true; start(box); } }, () => {});
  }
})();
