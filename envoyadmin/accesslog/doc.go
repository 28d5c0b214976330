// Package accesslog reads Envoy's access log lines with a parser compiled from
// the format that wrote them.
//
//	format text or JSON ──Compile──► Format ─┐
//	access_log of a listener ─FromProto─► Sink.Format
//	nothing known ─► the known layouts ──────┤
//	                                         ▼
//	container log ──Parser.Read──► Entry, Entry, ...   (or why a line is none)
//
// Values in a text log are not escaped, so a line is matched from both ends:
// every operator has a shape its values must have (a status is digits, flags
// are capitals, an address has no blanks), literals of the format are the
// anchors, and the reading that satisfies all of them up to the end of the line
// is taken.
//
// The package knows formats, operators and the wrappings that log collectors
// put around a line (kubectl, CRI, Docker, stern, docker-compose). It must not
// know what a value means for a path: meanings are in package explain, joining
// is in package trace.
//
// Sources: envoy source/common/formatter (commands, unset values),
// istio pilot/pkg/model/telemetry_logging.go (Istio's layouts).
package accesslog
