/** So many log lines in a minute and no more, whoever causes them; how many were suppressed is known when the minute is over. */

const INTERVAL = 60_000; // milliseconds

export class LogBudget {
  private readonly lines: number;
  private from = 0;
  private used = 0;

  constructor(lines: number) {
    this.lines = lines;
  }

  /** Begins anew when it is time; how many lines were suppressed meanwhile. */
  renew(now: number): number {
    if (now - this.from < INTERVAL) return 0;
    const suppressed = Math.max(0, this.used - this.lines);
    this.from = now;
    this.used = 0;
    return suppressed;
  }

  /** Whether one more line may be logged. */
  take(): boolean {
    return ++this.used <= this.lines;
  }
}
