/** Augmentation: versions of records, with captions that are true of them. */
export { Augmenter, type MadeVersion } from './augmenter.js'
export type { AugmentOptions } from './plan.js'
