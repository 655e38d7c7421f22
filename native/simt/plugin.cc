// star_simt.so as a plugin.
#include "core/plugin.h"

#include "simt/recording_backend.h"

STAR_PLUGIN(new star::simt::RecordingBackend("simt"))
