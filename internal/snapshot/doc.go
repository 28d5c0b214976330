// Package snapshot reads and writes observations kept in files: a folder or an
// archive in the form hoptrail.snapshot/v1, and an archive of `istioctl
// bug-report` as if it were one.
//
//	files ─► Open ─► Redact ─► NewRecorder ─► the walk
//	                              └─► files
//
// It knows how files, lists and archives are laid out, and what must never be
// shown or written: [Redact] stands before the walk and before the [Recorder],
// so that a trace of a recording reads what the recorded trace read. It must not
// know what a trace makes of an observation, nor how a cluster is asked.
//
// Everything in a file is untrusted. An archive that could harm whoever unpacks
// it is refused as a whole with a [trace.InputError].
package snapshot
