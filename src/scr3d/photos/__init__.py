"""People's own pictures: finding faces, cropping as the model expects, preparing and checking collections."""
