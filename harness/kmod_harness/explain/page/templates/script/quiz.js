"use strict";
// The claims as a quiz: no answer is told, counted or linked to before the reader has guessed or asked for it.
// The filter by verdict tells answers, so it comes when all of them are known. Without script every answer
// stands below its sentence.
{
  const section = document.getElementById("claims");
  const claims = [...section.querySelectorAll(".claim")];
  const bar = section.querySelector(".quiz-bar");
  const state = bar.querySelector("output");
  const showAll = bar.querySelector(".quiz-all");
  const byVerdict = bar.querySelector(".by-verdict");
  const filters = [...bar.querySelectorAll("[data-show]")];
  const begin = state.textContent;

  const answered = claim => claim.classList.contains("answered");
  const tell = () => {
    const guessed = claims.filter(claim => claim.dataset.guess);
    const right = guessed.filter(claim => claim.dataset.guess === claim.dataset.verdict);
    const all = claims.every(answered);
    state.textContent = guessed.length ? `${right.length} of ${guessed.length} right.` : all ? "Each answer is below its sentence." : begin;
    showAll.textContent = all ? "Guess again" : "Show all answers";
    byVerdict.hidden = !all;
  };
  const reveal = claim => {
    claim.classList.add("answered");
    tell();
  };
  const guess = (claim, said) => {
    claim.dataset.guess = said;
    claim.querySelector(".said").textContent = said === claim.dataset.verdict ? "as you said" : `you said ${said}`;
    reveal(claim);
  };
  const forget = claim => {
    delete claim.dataset.guess;
    claim.classList.remove("answered");
    claim.querySelector(".said").textContent = "";
  };
  const show = verdict => {
    for (const filter of filters) filter.setAttribute("aria-pressed", String(filter.dataset.show === verdict));
    for (const claim of claims) claim.hidden = Boolean(verdict) && claim.dataset.verdict !== verdict;
  };
  const showNamed = () => {
    const claim = claims.find(claim => `#${claim.id}` === location.hash);
    if (!claim) return;
    if (claim.hidden) show("");
    claim.scrollIntoView();
  };

  section.classList.add("quiz");
  section.querySelector(".tally").hidden = true;
  bar.hidden = false;
  for (const claim of claims) {
    const choices = claim.querySelector(".guess");
    choices.hidden = false;
    for (const choice of choices.querySelectorAll("[data-guess]")) {
      choice.addEventListener("click", () => guess(claim, choice.dataset.guess));
    }
    choices.querySelector(".reveal").addEventListener("click", () => reveal(claim));
  }
  for (const filter of filters) filter.addEventListener("click", () => show(filter.dataset.show));
  showAll.addEventListener("click", () => {
    const again = claims.every(answered);
    show("");
    for (const claim of claims) again ? forget(claim) : claim.classList.add("answered");
    tell();
  });
  addEventListener("hashchange", showNamed);
  showNamed();
}
