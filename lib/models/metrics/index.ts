/** Networks that measure pictures: what other folders use of them. */
export { Clip } from './clip.js'
export { InceptionV3, inceptionFeatures, inceptionSide, loadInception } from './inception.js'
