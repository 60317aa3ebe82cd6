"""JavaScript that gives the contrast ratio (WCAG 2) of the text of what a selector finds with what is behind it."""

CONTRAST = """selector => {
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour, under) => { paint.fillStyle = under; paint.fillRect(0, 0, 1, 1); paint.fillStyle = colour; paint.fillRect(0, 0, 1, 1); return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3); };
  const light = ([r, g, b]) => { const [x, y, z] = [r, g, b].map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * x + .7152 * y + .0722 * z; };
  const element = document.querySelector(selector);
  let ground = element;
  while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
  const under = rgb(getComputedStyle(ground).backgroundColor, "#fff");
  const [low, high] = [light(under), light(rgb(getComputedStyle(element).color, `rgb(${under})`))].sort((a, b) => a - b);
  return (high + .05) / (low + .05);
}"""
