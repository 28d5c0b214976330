package accesslog

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// The bounds of a format; a configuration comes from a cluster and is not
// trusted.
const (
	maxFormat = 64 << 10 // bytes of a format
	maxOps    = 512      // operators in it
	maxDepth  = 32       // nesting of JSON
)

// Format is a compiled log format. It is immutable and safe for concurrent use.
type Format struct {
	name string
	text string // as it was given

	ops    []Operator
	shapes []shape
	lits   []string // lits[i] stands before ops[i], the last one after all
	unset  string   // what an operator without a value prints

	leaves map[string]leaf // JSON: path of a value to what is in it; nil for text
	keyed  []string        // auto-detected JSON: the key of each value where no operator is known

	index map[string]int // Key of an operator to the position of its value
	slots [fieldCount]int
}

// leaf is one value of a JSON format.
type leaf struct {
	op   int     // position of the value; -1 when it is made of several
	sub  *Format // the text it is made of, when it is
	from int     // position of the first value of sub
}

// FormatError says where a format cannot be compiled.
type FormatError struct {
	Offset int // in bytes
	Msg    string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("log format: byte %d: %s", e.Offset, e.Msg)
}

// Compile compiles a format as a person types it: a JSON object of operators,
// or text. The error is a *[FormatError].
func Compile(format string) (*Format, error) {
	if t := strings.TrimSpace(format); strings.HasPrefix(t, "{") && json.Valid([]byte(t)) {
		return CompileJSON([]byte(t))
	}
	return CompileText(format)
}

// CompileText compiles a text format (text_format_source, format): operators
// %NAME(ARG):LIMIT%, %% for a percent sign, everything else literal. A newline
// at its end is the end of the line. Like Envoy it refuses a malformed command, a
// missing parameter and one too many; unlike Envoy it accepts operators it does
// not know, which extensions may provide. The error is a *[FormatError].
func CompileText(format string) (*Format, error) {
	f := &Format{name: "custom", text: format, unset: "-"}
	if err := f.compileText(strings.TrimSuffix(format, "\n"), 0); err != nil {
		return nil, err
	}
	if len(f.ops) == 0 {
		return nil, &FormatError{0, "no operator in it"}
	}
	f.finish()
	return f, nil
}

// CompileJSON compiles a JSON format (json_format): an object, nested as
// deeply as 32 levels, whose strings are text formats. The error is a
// *[FormatError].
func CompileJSON(object []byte) (*Format, error) {
	if len(object) > maxFormat {
		return nil, &FormatError{maxFormat, "format is longer than 64 KiB"}
	}
	f := &Format{name: "custom JSON", text: string(object), unset: "-", leaves: map[string]leaf{}}
	var compileErr error
	err := scanJSON(string(object), nil, func(path []byte, kind jsonKind, value string) bool {
		if kind != jsonString || !strings.Contains(value, "%") {
			return true
		}
		sub := &Format{unset: "-"}
		if err := sub.compileText(value, 0); err != nil {
			compileErr = fmt.Errorf("%s: %w", path, err)
			return false
		}
		if len(sub.ops) == 0 {
			return true
		}
		if len(f.ops)+len(sub.ops) > maxOps {
			compileErr = &FormatError{0, "more than 512 operators"}
			return false
		}
		l := leaf{op: -1, from: len(f.ops)}
		if len(sub.ops) == 1 && sub.lits[0] == "" && sub.lits[1] == "" {
			l.op = len(f.ops)
		} else {
			sub.finish()
			l.sub = sub
		}
		f.ops = append(f.ops, sub.ops...)
		f.shapes = append(f.shapes, sub.shapes...)
		f.leaves[string(path)] = l
		return true
	})
	if compileErr != nil {
		return nil, asFormatError(compileErr)
	}
	if err != nil {
		return nil, asFormatError(err)
	}
	if len(f.ops) == 0 {
		return nil, &FormatError{0, "no operator in it"}
	}
	f.finish()
	return f, nil
}

func asFormatError(err error) *FormatError {
	fe := &FormatError{Msg: err.Error()}
	if inner, ok := errors.AsType[*FormatError](err); ok {
		fe.Offset = inner.Offset
	}
	if inner, ok := errors.AsType[*jsonError](err); ok {
		fe.Offset = inner.offset
	}
	return fe
}

// compileText appends the operators of text. A command is what Envoy's
// substitution_formatter.cc accepts:
// ^%((?:[A-Z]|[0-9]|_)+)(?:\((.*?)\))?(?::([0-9]+))?%
func (f *Format) compileText(text string, base int) error {
	if len(text) > maxFormat {
		return &FormatError{maxFormat, "format is longer than 64 KiB"}
	}
	var lit strings.Builder
	for i := 0; i < len(text); {
		switch {
		case text[i] != '%':
			lit.WriteByte(text[i])
			i++
		case strings.HasPrefix(text[i:], "%%"):
			lit.WriteByte('%')
			i += 2
		default:
			op, n, limited, ok := cutOperator(text[i:])
			if !ok {
				end := min(len(text), i+32)
				return &FormatError{base + i, fmt.Sprintf("%q begins no %%COMMAND(PARAMETER):LENGTH%%", text[i:end])}
			}
			if err := op.check(limited); err != nil {
				return &FormatError{base + i, err.Error()}
			}
			if len(f.ops) == maxOps {
				return &FormatError{base + i, "more than 512 operators"}
			}
			f.lits = append(f.lits, lit.String())
			f.ops = append(f.ops, op)
			f.shapes = append(f.shapes, shapeOf(op))
			lit.Reset()
			i += n
		}
	}
	f.lits = append(f.lits, lit.String())
	return nil
}

// cutOperator reads the command at the start of s and its length there.
func cutOperator(s string) (op Operator, n int, limited, ok bool) {
	i := 1
	for i < len(s) && (s[i] >= 'A' && s[i] <= 'Z' || digit(s[i]) || s[i] == '_') {
		i++
	}
	op.Name = s[1:i]
	if op.Name == "" || i == len(s) {
		return op, 0, false, false
	}
	if s[i] != '(' {
		n, limited, ok = op.cutTail(s, i)
		return op, n, limited, ok
	}
	// The parameter ends at the first parenthesis that the rest of the command
	// follows, as the lazy (.*?) of the expression has it.
	open := i + 1
	for j := open; j < len(s) && s[j] != '\n'; j++ {
		if s[j] != ')' {
			continue
		}
		if n, limited, ok = op.cutTail(s, j+1); ok {
			op.Arg = s[open:j]
			return op, n, limited, true
		}
	}
	return op, 0, false, false
}

// cutTail reads (:LENGTH)?% at i and returns the position behind it.
func (o *Operator) cutTail(s string, i int) (n int, limited, ok bool) {
	if i < len(s) && s[i] == ':' {
		j := i + 1
		for j < len(s) && digit(s[j]) {
			j++
		}
		limit, err := strconv.Atoi(s[i+1 : j])
		if err != nil {
			return 0, false, false
		}
		o.Limit, limited, i = limit, true, j
	}
	if i >= len(s) || s[i] != '%' {
		return 0, false, false
	}
	return i + 1, limited, true
}

// finish builds the indexes.
func (f *Format) finish() {
	f.index = make(map[string]int, len(f.ops))
	for i, op := range f.ops {
		key := op.Key()
		if f.keyed != nil && f.keyed[i] != "" {
			key = f.keyed[i]
		}
		// Of the same operator twice, the one that is not cut short.
		if old, ok := f.index[key]; !ok || f.ops[old].Limit > 0 && op.Limit == 0 {
			f.index[key] = i
		}
	}
	for field, keys := range fieldKeys {
		f.slots[field] = -1
		for _, key := range keys {
			if i, ok := f.index[key]; ok {
				f.slots[field] = i
				break
			}
		}
	}
	if f.slots[fieldPath] < 0 {
		for i, op := range f.ops {
			if op.Name == "PATH" || op.Name == "REQ_WITHOUT_QUERY" {
				f.slots[fieldPath] = i
				break
			}
		}
	}
	for _, timed := range []string{"START_TIME", "START_TIME_LOCAL"} {
		for i, op := range f.ops {
			if f.slots[fieldStart] < 0 && op.Name == timed {
				f.slots[fieldStart] = i
			}
		}
	}
}

// Name is the name of a known layout ("Istio text", "Envoy default", "JSON")
// or "custom".
func (f *Format) Name() string { return f.name }

// String is the format as it was given.
func (f *Format) String() string { return f.text }

// JSON says whether lines of the format are JSON objects.
func (f *Format) JSON() bool { return f.leaves != nil || f.keyed != nil }

// Operators returns the operators in the order of the line.
func (f *Format) Operators() []Operator { return slices.Clone(f.ops) }

// Unknown returns the operators that Envoy does not know of itself: an extension
// may provide them, and without one Envoy refuses the format.
func (f *Format) Unknown() []Operator {
	var out []Operator
	for _, op := range f.ops {
		if _, ok := specs[op.Name]; !ok && !slices.Contains(out, op) {
			out = append(out, op)
		}
	}
	return out
}

// Has says whether lines of the format carry the operator, as
// "UPSTREAM_CLUSTER" or "REQ(X-REQUEST-ID)". UPSTREAM_CLUSTER and
// UPSTREAM_CLUSTER_RAW stand for each other, as do the old and the new
// spelling of header operators.
func (f *Format) Has(operator string) bool { return f.position(operator) >= 0 }

func (f *Format) position(operator string) int {
	if i, ok := f.index[operator]; ok {
		return i
	}
	key := canonicalKey(operator)
	if i, ok := f.index[key]; ok {
		return i
	}
	switch key {
	case "UPSTREAM_CLUSTER":
		key = "UPSTREAM_CLUSTER_RAW"
	case "UPSTREAM_CLUSTER_RAW":
		key = "UPSTREAM_CLUSTER"
	default:
		return -1
	}
	if i, ok := f.index[key]; ok {
		return i
	}
	return -1
}

// Lacks names the operators that lines of the format do not carry although a
// trace needs them to tell what happened: flags, details, cluster, host, ...
func (f *Format) Lacks() []string {
	var lacks []string
	for _, field := range needed {
		if f.slots[field] < 0 {
			lacks = append(lacks, fieldKeys[field][0])
		}
	}
	return lacks
}

// omitsEmpty returns the format for loggers with omit_empty_values, where an
// operator without a value prints nothing.
func (f *Format) omitsEmpty() *Format {
	g := *f
	g.unset = ""
	return &g
}

func (f *Format) named(name string) *Format {
	g := *f
	g.name = name
	return &g
}

// The known layouts. Envoy's default is in http_formatter_context.cc, Istio's
// in telemetry_logging.go; the older ones of Istio are as its releases shipped
// them.
const (
	textEnvoy = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"`

	textRequest  = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% `
	textNumbers  = `%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" `
	textAddress  = `%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME%`
	textDetails  = `%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" `
	textMixer    = `"%DYNAMIC_METADATA(istio.mixer:status)%" `
	textFailure  = `"%UPSTREAM_TRANSPORT_FAILURE_REASON%" `
	textCluster  = `%UPSTREAM_CLUSTER% `
	textRawCl    = `%UPSTREAM_CLUSTER_RAW% `
	textRouteEnd = ` %ROUTE_NAME%`
)

// IstioText is Istio's default text format since 1.24; lines of 1.9 to 1.23
// look the same, with the cluster's alternative statistics name where it has one.
func IstioText() *Format { return knownLayouts()[0] }

// EnvoyDefault is the format Envoy uses where the configuration gives none.
func EnvoyDefault() *Format {
	layouts := knownLayouts()
	return layouts[len(layouts)-1]
}

var knownLayouts = sync.OnceValue(func() []*Format {
	return []*Format{
		must(textRequest + textDetails + textNumbers + textRawCl + textAddress + textRouteEnd).named("Istio text"),
		must(textRequest + textMixer + textFailure + textNumbers + textCluster + textAddress + textRouteEnd).named("Istio text (1.3 to 1.8)"),
		must(textRequest + textMixer + textFailure + textNumbers + textCluster + textAddress).named("Istio text (1.2)"),
		must(textRequest + textMixer + textNumbers + textCluster + textAddress).named("Istio text (1.1)"),
		must(textEnvoy).named("Envoy default"),
	}
})

// The layouts as people trim them: without a time, without a protocol.
var trimmedLayouts = sync.OnceValue(func() []*Format {
	var trimmed []*Format
	for _, f := range knownLayouts() {
		noTime := strings.TrimPrefix(f.text, "[%START_TIME%] ")
		for _, text := range []string{
			strings.Replace(f.text, ` %PROTOCOL%"`, `"`, 1),
			noTime,
			strings.Replace(noTime, ` %PROTOCOL%"`, `"`, 1),
		} {
			trimmed = append(trimmed, must(text).named(f.name))
		}
	}
	return trimmed
})

// must compiles a layout of this file.
func must(text string) *Format {
	f, err := CompileText(text)
	if err != nil {
		panic("accesslog: a layout of this package does not compile: " + err.Error())
	}
	return f
}
