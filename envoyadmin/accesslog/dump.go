package accesslog

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/jsonscan"
)

// Logger is an access logger and the listener it stands in.
type Logger struct {
	// Listener is the listener's name, or its address where it has none.
	Listener string
	// Address is where it listens, as ADDRESS:PORT; "" where that is not a
	// socket address.
	Address string
	Sink
}

// maxNesting bounds how deeply a listener is searched for loggers.
const maxNesting = 64

// FromConfigDump returns the access loggers of every listener in a config_dump
// (JSON), in the dump's order: those of connection managers and TCP proxies and
// those of listeners themselves. Only the listeners are looked into. A dump
// without listeners gives none. The error says where the text is not a
// config_dump.
func FromConfigDump(dump []byte) ([]Logger, error) {
	var loggers []Logger
	at := jsonscan.Space(dump, 0)
	sawConfigs := false
	_, err := jsonscan.Object(dump, at, func(key []byte, at int) (int, error) {
		if string(key) != "configs" {
			return 0, nil
		}
		sawConfigs = true
		return jsonscan.Array(dump, at, func(_, at int) (int, error) {
			listeners := false
			end, err := jsonscan.Object(dump, at, func(key []byte, at int) (int, error) {
				if string(key) == "@type" {
					end, err := jsonscan.String(dump, at)
					listeners = err == nil && strings.HasSuffix(string(dump[at:end]), `ListenersConfigDump"`)
					return end, err
				}
				return 0, nil
			})
			if err != nil || !listeners {
				return end, err
			}
			s := loggerSearch{b: dump, found: &loggers}
			return s.walk(at, 0, Logger{})
		})
	})
	if err != nil {
		return nil, fmt.Errorf("config_dump: %w", err)
	}
	if !sawConfigs {
		return nil, errors.New("config_dump: an object without configs")
	}
	return loggers, nil
}

// Formats returns the formats of the loggers whose lines are in the container's
// log, each once.
func Formats(loggers []Logger) []*Format {
	var formats []*Format
	seen := map[string]bool{}
	for _, l := range loggers {
		if l.Format == nil {
			continue
		}
		key := l.Format.unset + "\x00" + l.Format.text
		if !seen[key] {
			seen[key] = true
			formats = append(formats, l.Format)
		}
	}
	return formats
}

type loggerSearch struct {
	b     []byte
	found *[]Logger
}

// walk looks for listeners and for access_log lists in the value at b[i], and
// returns the index behind it.
func (s *loggerSearch) walk(i, depth int, in Logger) (int, error) {
	if i >= len(s.b) || s.b[i] != '{' && s.b[i] != '[' || depth > maxNesting {
		return jsonscan.Value(s.b, i)
	}
	if s.b[i] == '[' {
		return jsonscan.Array(s.b, i, func(_, at int) (int, error) { return s.walk(at, depth+1, in) })
	}
	return jsonscan.Object(s.b, i, func(key []byte, at int) (int, error) {
		switch string(key) {
		case "listener":
			return s.walk(at, depth+1, s.listener(at))
		case "access_log", "accessLog":
			if at < len(s.b) && s.b[at] == '[' {
				return s.loggers(at, in)
			}
		}
		return s.walk(at, depth+1, in)
	})
}

// loggers reads the access_log list at b[i].
func (s *loggerSearch) loggers(i int, in Logger) (int, error) {
	return jsonscan.Array(s.b, i, func(_, at int) (int, error) {
		end, err := jsonscan.Value(s.b, at)
		if err != nil {
			return end, err
		}
		sink, err := FromJSON(s.b[at:end])
		if err != nil {
			sink = Sink{Why: err.Error()}
		}
		in.Sink = sink
		*s.found = append(*s.found, in)
		return end, nil
	})
}

// listener reads name and address of the listener at b[i].
func (s *loggerSearch) listener(i int) Logger {
	var l Logger
	text := func(at int) string {
		end, err := jsonscan.Value(s.b, at)
		if err != nil {
			return ""
		}
		if s.b[at] != '"' {
			return string(s.b[at:end])
		}
		v, err := jsonscan.Unquote(s.b[at:end], at)
		if err != nil {
			return ""
		}
		return v
	}
	host, port := "", ""
	object := func(at int, field func(key string, at int)) {
		// Broken text is reported by the walk that goes over it next.
		_, _ = jsonscan.Object(s.b, at, func(key []byte, at int) (int, error) {
			field(string(key), at)
			return 0, nil
		})
	}
	object(i, func(key string, at int) {
		switch key {
		case "name":
			l.Listener = text(at)
		case "address":
			object(at, func(key string, at int) {
				if key != "socket_address" && key != "socketAddress" {
					return
				}
				object(at, func(key string, at int) {
					switch key {
					case "address":
						host = text(at)
					case "port_value", "portValue":
						port = text(at)
					}
				})
			})
		}
	})
	if port != "" {
		l.Address = net.JoinHostPort(host, port)
	}
	if l.Listener == "" {
		l.Listener = l.Address
	}
	return l
}
