import { html } from "./lib/preact.js";
import { Page } from "./ui.js";
export default function Runs() {
  return html`<${Page} title="Runs"><p>…</p><//>`;
}
