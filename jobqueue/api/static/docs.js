"use strict";

window.addEventListener("load", () => {
  SwaggerUIBundle({
    url: "openapi.json",
    dom_id: "#api",
    deepLinking: true,
    presets: [SwaggerUIBundle.presets.apis],
    // The validator would send the document to somebody else's server.
    validatorUrl: null,
  });
});
