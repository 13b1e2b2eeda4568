// Follows the end of a log: stays at the last line while new ones come, and pauses when the visitor scrolls up.
(() => {
  "use strict";
  const NEAR = 120, badge = document.getElementById("live");
  let isFollowing = false, isOurPause = false;

  const follows = () => document.querySelector("#lines[data-follow]");
  const page = document.documentElement;
  const isAtEnd = () => page.scrollHeight - innerHeight - scrollY < NEAR;
  const isPaused = () => badge && badge.dataset.state === "paused";
  const toEnd = () => scrollTo({ top: page.scrollHeight, behavior: "instant" });

  function start() {
    isFollowing = Boolean(follows()) && !location.hash;
    if (isFollowing) toEnd();
  }

  addEventListener("scroll", () => {
    if (!follows()) return;
    const toggles = isAtEnd() ? isPaused() && isOurPause : isFollowing && !isPaused();
    isFollowing = isAtEnd();
    if (!toggles) return;
    isOurPause = !isFollowing;
    document.dispatchEvent(new Event("jobqueue:pause"));
  }, { passive: true });

  document.addEventListener("htmx:afterSwap", () => { if (isFollowing) toEnd(); });
  start();
})();
