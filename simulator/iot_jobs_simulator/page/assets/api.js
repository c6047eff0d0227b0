// The requests of the page. What changes something is the request that boto3, the AWS CLI or curl would make.

// The service is chosen by the scope of the credentials, and the simulator does not verify signatures.
const SIGNATURE =
  "AWS4-HMAC-SHA256 Credential=page/20260101/us-east-1/iot/aws4_request, SignedHeaders=host, Signature=0";

/** Perform an operation of the service `iot`; the answer, or an Error in the service's words. */
export async function operate(method, path, body) {
  const headers = { Authorization: SIGNATURE };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  return answerOf(await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) }));
}

/** Ask one of the control endpoints. */
export async function control(method, name, body) {
  return answerOf(await fetch(`/_simulator/${name}`, { method, body: body === undefined ? undefined : JSON.stringify(body) }));
}

/** Read what only the page reads. */
export async function read(name, query = {}) {
  return answerOf(await fetch(`/_simulator/page/${name}?${new URLSearchParams(query)}`));
}

async function answerOf(response) {
  const text = await response.text();
  const answer = text ? JSON.parse(text) : {};
  if (response.ok) return answer;
  const name = response.headers.get("x-amzn-ErrorType");
  throw new Error(name ? `${name}: ${answer.message}` : answer.message);
}

/** The same work, but while it is being done it is not begun again: then it is done once more at the end. */
export function oneAtATime(work) {
  let isBusy = false;
  let isWanted = false;
  return async function perform() {
    isWanted = true;
    if (isBusy) return;
    isBusy = true;
    while (isWanted) {
      isWanted = false;
      await work();
    }
    isBusy = false;
  };
}

/** A name in a path. */
export const part = encodeURIComponent;

/**
 * Be told how things are, after each change; `onState` is told whether the stream is there.
 *
 * A page that nobody sees has no stream: a browser has six connections to a host, and a seventh page would get none.
 */
export function follow(onEvent, onState) {
  let stream = null;

  function open() {
    if (stream !== null || document.hidden) return;
    stream = new EventSource("/_simulator/page/live");
    stream.onopen = () => onState("on");
    stream.onmessage = (event) => onEvent(JSON.parse(event.data));
    stream.onerror = () => {
      onState("off");
      if (stream?.readyState !== EventSource.CLOSED) return; // it connects again by itself
      close();
      setTimeout(open, 3000);
    };
  }

  function close() {
    stream?.close();
    stream = null;
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  open();
}
