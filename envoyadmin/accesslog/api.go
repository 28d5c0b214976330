package accesslog

import (
	"io"
	"iter"
	"time"
)

// Format is a compiled log format. It is immutable and safe for concurrent use.
type Format struct{ name string }

// Compile compiles a format: a JSON object of operators, or text.
func Compile(format string) (*Format, error) { return &Format{}, nil }

// Name is the name of a known layout ("istio text", "envoy default") or "custom".
func (f *Format) Name() string { return f.name }

// Has says whether lines of the format carry the operator, as "UPSTREAM_CLUSTER"
// or "REQ(X-REQUEST-ID)".
func (f *Format) Has(operator string) bool { return false }

// Parser reads lines. Without formats it recognises the known layouts.
type Parser struct{ formats []*Format }

// NewParser returns a parser that tries the formats in order.
func NewParser(formats ...*Format) *Parser { return &Parser{formats: formats} }

// Parse reads one line (without its newline). It never fails: a line that is
// not an access line is an Entry with a Why.
func (p *Parser) Parse(line string) Entry { return Entry{Raw: line} }

// Read reads a whole log. The error is one of reading r; it is the last item.
func (p *Parser) Read(r io.Reader) iter.Seq2[Entry, error] {
	return func(func(Entry, error) bool) {}
}

// Entry is one access line, or a line that is none. All getters return the zero
// value where the line does not say: the format lacks the operator, or Envoy
// printed "-" or null.
type Entry struct {
	Raw    string  // the line as read, without the newline
	Line   int     // its number from 1; the first of several for wrapped records
	Prefix string  // what a log collector put before it
	Format *Format // nil when Why is set
	Why    string  // why this is not an access line; "" when it is one
}

// OK says whether the line is an access line.
func (e Entry) OK() bool { return e.Why == "" }

// Value returns what was printed for an operator, "REQ(:METHOD)" or
// "UPSTREAM_HOST", and whether the format has it. Unset is "-".
func (e Entry) Value(operator string) (string, bool) { return "", false }

// Fields returns every operator of the line with what was printed for it.
func (e Entry) Fields() map[string]string { return nil }

func (e Entry) Start() time.Time           { return time.Time{} }
func (e Entry) Method() string             { return "" }
func (e Entry) Path() string               { return "" }
func (e Entry) Protocol() string           { return "" }
func (e Entry) Status() int                { return 0 } // 0 for TCP
func (e Entry) Flags() []string            { return nil } // short forms, sorted as printed
func (e Entry) Details() string            { return "" }
func (e Entry) TerminationDetails() string { return "" }
func (e Entry) TransportFailure() string   { return "" } // of the upstream
func (e Entry) BytesReceived() int64       { return 0 }
func (e Entry) BytesSent() int64           { return 0 }
func (e Entry) Duration() time.Duration    { return 0 }
func (e Entry) ServiceTime() time.Duration { return 0 } // x-envoy-upstream-service-time
func (e Entry) ForwardedFor() string       { return "" }
func (e Entry) UserAgent() string          { return "" }
func (e Entry) RequestID() string          { return "" }
func (e Entry) Authority() string          { return "" }
func (e Entry) UpstreamHost() string       { return "" } // ip:port, [v6]:port, envoy://...
func (e Entry) UpstreamCluster() string    { return "" }
func (e Entry) UpstreamLocal() string      { return "" }
func (e Entry) DownstreamLocal() string    { return "" }
func (e Entry) DownstreamRemote() string   { return "" }
func (e Entry) ServerName() string         { return "" } // the SNI asked for
func (e Entry) Route() string              { return "" }

// Sink is one access logger of a listener, connection manager or TCP proxy.
type Sink struct {
	Name     string  // envoy.access_loggers.file ...
	Where    string  // /dev/stdout, stderr, a file, a gRPC service
	InLog    bool    // its lines are in the container's log
	Why      string  // why not, when InLog is false
	Format   *Format // nil when InLog is false
	Filtered string  // the filter that keeps some requests out of the log, "" for none
}
