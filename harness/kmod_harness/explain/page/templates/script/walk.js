"use strict";
// An address that ends with #step=3 shows that step of the first drawing, without scrolling to it.
{
  const choose = () => {
    const number = /^#step=([1-5])$/.exec(location.hash)?.[1];
    const step = number && document.getElementById(`step-${number}`);
    if (step) step.checked = true;
  };
  addEventListener("hashchange", choose);
  choose();
}
