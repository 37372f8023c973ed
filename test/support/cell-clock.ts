/** The turn's time for what is tested without a turn: set `now`, and `time` has it. */
export function cellClock(): { now: number; time: Float64Array } {
  const time = new Float64Array(1);
  return {
    time,
    get now() {
      return time[0];
    },
    set now(now) {
      time[0] = now;
    },
  };
}
