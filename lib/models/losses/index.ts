/** Losses for a sharp tokenizer: a classifier's features, and a discriminator with what belongs to it. */
export * from './adversarial.js'
export * from './config.js'
export * from './diff-augment.js'
export * from './discriminator.js'
export * from './perceptual.js'
