// Suggests the next word of the query: names of fields, and the values that jobs have.
(() => {
  "use strict";
  const WAIT_MS = 120, MOST = 20, LONGEST = 100;
  // Fields whose values the server suggests.
  const KNOWN = /^(state|queue|type|schedule|error\.kind|meta\.[^.$].*)$/;
  const box = document.getElementById("query"), list = document.createElement("datalist");
  if (!box) return;
  list.id = "words";
  document.body.append(list);
  let timer = 0, asked = 0;

  async function ask(parameters) {
    if (parameters.prefix.length > LONGEST || !KNOWN.test(parameters.field ?? "type")) return [];
    const reply = await fetch(`/v1/jobs/suggestions?${new URLSearchParams({ ...parameters, limit: MOST })}`).catch(() => null);
    return reply && reply.ok ? (await reply.json()).items.map((item) => String(item.value)) : [];
  }

  const quoted = (text) => (/[\s"']/.test(text) ? `"${text.replaceAll('"', '\\"')}"` : text);

  async function suggest() {
    const number = ++asked, text = box.value, word = text.match(/\S*$/)[0], before = text.slice(0, text.length - word.length);
    const term = word.match(/^([^=<>!~]+)(!=|>=|<=|=|>|<|~)((?:.*,)?)(.*)$/);
    let words;
    if (term) {
      const [, field, sign, others, prefix] = term;
      words = (await ask({ field, prefix })).map((value) => field + sign + others + quoted(value));
    } else {
      const names = [...document.querySelectorAll("#fields option")].map((option) => option.value);
      const known = names.filter((name) => name.startsWith(word) && !["age", "reason", "ran"].includes(name));
      words = [...new Set([...(await ask({ prefix: word })), ...known])].slice(0, MOST).map((name) => `${name}=`);
    }
    if (number !== asked) return;
    list.replaceChildren(...words.map((each) => Object.assign(document.createElement("option"), { value: before + each })));
  }

  const later = () => { clearTimeout(timer); timer = setTimeout(suggest, WAIT_MS); };
  // Jobs link back to the list as it is; where the page had no room for that, it is added here.
  for (const kind of ["pointerdown", "focusin"]) {
    document.addEventListener(kind, (event) => {
      const link = event.target.closest("tbody[data-list] a[href^='/jobs/']");
      if (link && !link.search && location.search) link.search = new URLSearchParams({ back: location.search.slice(1) });
    });
  }

  box.addEventListener("input", later);
  box.addEventListener("focus", later, { once: true });
})();
