/**
 * Token buckets, that bound how often somebody else can make the base do something: say or copy it (ICMP errors, ARP replies, broadcasts),
 * open an adapter, take a connection, log a line. One for each port or VM, or for whatever is numbered.
 */
export class TokenBuckets {
  /** Tokens in each bucket at the time in `filled`. */
  private readonly tokens: Float64Array;
  /** Milliseconds; when each bucket was last filled up. */
  private readonly filled: Float64Array;
  private readonly perMillisecond: number;
  private readonly burst: number;

  /** `count` full buckets of `burst` tokens, each refilled at `ratePerSecond`. */
  constructor(count: number, ratePerSecond: number, burst: number) {
    this.tokens = new Float64Array(count).fill(burst);
    this.filled = new Float64Array(count);
    this.perMillisecond = ratePerSecond / 1000;
    this.burst = burst;
  }

  /** Takes a token from a bucket; false when it is empty. The time is any monotonic clock's, and never runs back. */
  take(index: number, nowMilliseconds: number): boolean {
    const passed = nowMilliseconds - this.filled[index];
    let tokens = this.tokens[index];
    if (passed > 0) {
      tokens = Math.min(this.burst, tokens + passed * this.perMillisecond);
      this.filled[index] = nowMilliseconds;
    }
    const given = tokens >= 1;
    this.tokens[index] = given ? tokens - 1 : tokens;
    return given;
  }
}
