"use strict";
// The first drawing. An address that ends with #step=3 shows that step of it, without scrolling to it.
{
  const choose = () => {
    const number = /^#step=([1-5])$/.exec(location.hash)?.[1];
    const step = number && document.getElementById(`step-${number}`);
    if (step) step.checked = true;
  };
  // "Next" is below the bytes: where the chosen step's text is not in sight, it is brought there
  for (const step of document.querySelectorAll(".stop")) {
    step.addEventListener("change", () => {
      const { top, bottom } = document.querySelector(`.caption-${step.id.slice(5)}`).getBoundingClientRect();
      if (top < 0 || bottom > innerHeight) document.querySelector(".rail").scrollIntoView();
    });
  }
  addEventListener("hashchange", choose);
  choose();
}
