// Files that are chosen, dropped on the page or pasted.

/**
 * Call `take` with files from inputs, from the clipboard and from what is dropped; `nothing` where no file was dropped.
 */
export function receive(inputs, take, nothing) {
  for (const input of inputs) {
    input.addEventListener("change", () => {
      take([...input.files]);
      input.value = ""; // so that the same file can be chosen again
    });
  }
  let inside = 0;
  const lit = (on) => document.body.classList.toggle("dragging", on);
  addEventListener("dragenter", (event) => { event.preventDefault(); inside += 1; lit(true); });
  addEventListener("dragleave", () => { inside -= 1; lit(inside > 0); });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    inside = 0;
    lit(false);
    const dropped = [...event.dataTransfer.files];
    if (dropped.length) take(dropped);
    else nothing();
  });
  addEventListener("paste", (event) => {
    const pasted = [...(event.clipboardData?.files ?? [])];
    if (pasted.length) take(pasted);
  });
}
