// A picture in a box that ends with the screen, scrolled to the node that is looked at. It is shown as an image, so that
// nothing in it is obeyed; as a document it is only measured.

const LOWEST = 220; // pixels; less would show no node whole
const BELOW = 24;

/** Where the current node's middle stands, as a part of the picture's height. */
function middleOfCurrent(picture) {
  const drawing = new DOMParser().parseFromString(picture, "image/svg+xml").documentElement;
  const box = drawing.querySelector(".node.current .box");
  const [, top, , height] = (drawing.getAttribute("viewBox") ?? "").split(/[\s,]+/).map(Number);
  return box && height ? (Number(box.getAttribute("y")) + Number(box.getAttribute("height")) / 2 - top) / height : 0;
}

export default function ({ data, parentElement }) {
  const box = parentElement.querySelector(".graph");
  const image = box.querySelector("img");
  const fit = () => {
    let scrolled = 0;
    for (let each = parentElement.host ?? parentElement; each; each = each.parentElement) scrolled += each.scrollTop;
    const room = window.innerHeight - box.getBoundingClientRect().top - scrolled - BELOW;
    box.style.maxHeight = `${Math.max(LOWEST, room)}px`;
    box.scrollTop = middleOfCurrent(data.picture) * image.clientHeight - box.clientHeight / 2;
  };
  image.alt = data.alt;
  image.onload = fit;
  image.src = `data:image/svg+xml,${encodeURIComponent(data.picture)}`;
  window.addEventListener("resize", fit);
  const above = new ResizeObserver(fit); // the steps above may come later, and push the box down
  const column = (parentElement.host ?? parentElement).closest("[data-testid=stVerticalBlock]");
  if (column) above.observe(column);
  return () => {
    window.removeEventListener("resize", fit);
    above.disconnect();
  };
}
