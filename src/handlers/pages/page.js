"use strict";
// Nothing happens before a person presses the button: programs open links too.
const form = document.getElementById("form");
const status = document.getElementById("status");
const password = document.getElementById("password");
const token = new URLSearchParams(location.hash.slice(1)).get("token");

function say(text) {
  status.textContent = text;
  status.focus();
}

function reasons(problem) {
  const faults = (problem.errors || []).map((fault) =>
    fault.field === "token"
      ? "This link does not work any more. Please ask for a new one."
      : "The " + fault.field + " " + fault.message + ".");
  return faults.join(" ") || problem.detail || "That did not work.";
}

async function send() {
  const body = password ? { token, password: password.value } : { token };
  const answer = await fetch(form.dataset.endpoint, {
    method: "POST",
    credentials: "omit",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify(body),
  });
  if (answer.ok) {
    form.hidden = true;
    history.replaceState(null, "", location.pathname);
    return form.dataset.done;
  }
  return reasons(await answer.json());
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  say("One moment …");
  try {
    say(await send());
  } catch {
    say("The service cannot be reached. Please try again in a moment.");
  }
  button.disabled = false;
});

if (token) {
  form.hidden = false;
} else {
  say("This link is not complete. Please open it as it stands in the mail.");
}
