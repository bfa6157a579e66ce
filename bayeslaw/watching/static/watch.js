/* Replaces the body every few seconds; a server that is gone leaves the last state, and a word about it. */

const SECONDS = 5;
const heard = document.getElementById("heard");
const usual = heard.textContent;

async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(`/body${window.location.search}`, { cache: "no-store" });
    const text = await answer.text();
    if (answer.ok) document.getElementById("body").innerHTML = text;
    heard.textContent = answer.ok ? usual : `The folder cannot be read: ${text}`;
  } catch {
    heard.textContent = "bayeslaw watch has ended: this is the last state that it saw.";
  }
}

setInterval(refresh, 1000 * SECONDS);
