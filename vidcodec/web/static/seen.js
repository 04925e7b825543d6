// What of the page is on the screen, or nearly. Drawing what nobody sees takes processor time from the call.

const MARGIN_PX = 80; // so that what is scrolled to is there before it is seen

export class Seen {
  // onCome(element): it has come into view, and what was left out until now is due.
  constructor(onCome) {
    this.elements = new Set();
    this.observer = new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting } of entries) {
          const before = this.elements.has(target);
          if (isIntersecting) this.elements.add(target);
          else this.elements.delete(target);
          if (isIntersecting && !before) onCome(target);
        }
      },
      { rootMargin: `${MARGIN_PX}px` },
    );
  }

  watch(element) {
    this.observer.observe(element);
  }

  forget(element) {
    this.observer.unobserve(element);
    this.elements.delete(element);
  }

  has(element) {
    return this.elements.has(element);
  }
}
