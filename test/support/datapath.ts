/** The `datapath` of a plan as a configuration without that section has it, for tests that make a `BasePlan` by hand. */
import type { BasePlan } from '../../src/plan.ts';

export const DATAPATH: BasePlan['datapath'] = {
  poll: 'adaptive',
  spinMicroseconds: 50,
  restMicroseconds: 500,
  burst: 256,
  workers: 1,
  cores: [],
};
