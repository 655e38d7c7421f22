/** Pretrained classifiers whose features judge pictures. */
export { type BackboneName, backboneCache, backboneFile, backboneNames, fetchBackbone } from './cache.js'
export { EfficientNetLite0 } from './efficientnet.js'
export { foldNormalisation, foldNormalisations, loadBackbone, type Normalisation } from './load.js'
