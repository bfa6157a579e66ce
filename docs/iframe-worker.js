/* The search of a site that is opened as files: browsers start no Worker there, so a hidden frame runs its script. */

"use strict";

class FrameWorker extends EventTarget {
  constructor(url) {
    super();
    this.frame = document.createElement("iframe");
    this.frame.hidden = true;
    document.body.append(this.frame);
    this.waiting = [];
    const inside = this.frame.contentWindow;
    inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
    const script = inside.document.createElement("script");
    script.src = url;
    script.onload = () => {
      const sent = this.waiting;
      this.waiting = null;
      sent.forEach((data) => this.postMessage(data));
    };
    inside.document.head.append(script);
  }

  postMessage(data) {
    if (this.waiting) this.waiting.push(data);
    else this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }));
  }

  terminate() {
    this.frame.remove();
  }
}

if (window.location.protocol === "file:") window.Worker = FrameWorker;
