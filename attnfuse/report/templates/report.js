"use strict";
(() => {
  const box = document.getElementById("search");
  const found = document.getElementById("found");
  const sites = [...document.querySelectorAll("li.site")];
  const branches = [...document.querySelectorAll("li.branch")];
  const texts = sites.map((site) => (site.textContent + " " + site.dataset.search).toLowerCase());
  const count = (listed) => listed.reduce((sum, site) => sum + Number(site.dataset.sites), 0);
  const search = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    sites.forEach((site, at) => { site.hidden = !words.every((word) => texts[at].includes(word)); });
    branches.forEach((branch) => { branch.hidden = !branch.querySelector("li.site:not([hidden])"); });
    found.textContent = count(sites.filter((site) => !site.hidden)) + " of " + count(sites) + " sites";
  };
  document.getElementById("search-box").hidden = false;
  box.addEventListener("input", search);
  search();
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((details) => { details.open = true; });
  });
})();
