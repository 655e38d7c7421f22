export { buildIconPack, holdOut, type IconOptions, type IconReport } from './build.js'
export { type IconSet, iconSets } from './sets.js'
