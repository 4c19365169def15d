"use strict";
// The claims as a quiz, and by verdict. Without script every answer stands below its sentence.
{
  const section = document.getElementById("claims");
  const claims = [...section.querySelectorAll(".claim")];
  const bar = section.querySelector(".quiz-bar");
  const state = bar.querySelector("output");
  const showAll = bar.querySelector(".quiz-all");
  const filters = [...bar.querySelectorAll("[data-show]")];
  const begin = state.textContent;

  const answered = claim => claim.classList.contains("answered");
  const tell = () => {
    const guessed = claims.filter(claim => claim.dataset.guess);
    const right = guessed.filter(claim => claim.dataset.guess === claim.dataset.verdict);
    state.textContent = guessed.length ? `${right.length} of ${guessed.length} right.` : begin;
    showAll.textContent = claims.every(answered) ? "Guess again" : "Show all answers";
  };
  const guess = (claim, said) => {
    claim.dataset.guess = said;
    claim.classList.add("answered");
    claim.querySelector(".said").textContent = said === claim.dataset.verdict ? "as you said" : `you said ${said}`;
    tell();
  };
  const forget = claim => {
    delete claim.dataset.guess;
    claim.classList.remove("answered");
    claim.querySelector(".said").textContent = "";
  };
  const show = verdict => {
    for (const filter of filters) filter.setAttribute("aria-pressed", String(filter.dataset.show === verdict));
    for (const claim of claims) {
      claim.hidden = Boolean(verdict) && claim.dataset.verdict !== verdict;
      if (verdict && !claim.hidden) claim.classList.add("answered"); // the filter has told it
    }
    tell();
  };
  const showNamed = () => {
    const claim = claims.find(claim => `#${claim.id}` === location.hash);
    if (!claim) return;
    show("");
    claim.classList.add("answered");
    claim.scrollIntoView();
    tell();
  };

  section.classList.add("quiz");
  section.querySelector(".tally").hidden = true;
  bar.hidden = false;
  for (const claim of claims) {
    const choices = claim.querySelector(".guess");
    choices.hidden = false;
    for (const choice of choices.children) choice.addEventListener("click", () => guess(claim, choice.dataset.guess));
  }
  for (const filter of filters) filter.addEventListener("click", () => show(filter.dataset.show));
  showAll.addEventListener("click", () => {
    const again = claims.every(answered);
    if (again) show("");
    for (const claim of claims) again ? forget(claim) : claim.classList.add("answered");
    tell();
  });
  addEventListener("hashchange", showNamed);
  showNamed();
}
