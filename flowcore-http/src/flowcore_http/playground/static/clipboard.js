// Buttons that copy.

const SHOWN_MILLISECONDS = 1600;

export function copyOnClick(button, text) {
  button.addEventListener("click", async () => {
    await copy(text());
    const use = button.querySelector("use");
    use.setAttribute("href", "#i-check");
    button.classList.add("copied");
    setTimeout(() => {
      use.setAttribute("href", "#i-copy");
      button.classList.remove("copied");
    }, SHOWN_MILLISECONDS);
  });
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Where the page did not come from this machine or by HTTPS, there is no clipboard to write to.
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}
