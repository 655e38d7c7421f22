export * from './adversarial.js'
export * from './diff-augment.js'
export * from './discriminator.js'
export * from './perceptual.js'
