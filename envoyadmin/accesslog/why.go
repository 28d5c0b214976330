package accesslog

import (
	"fmt"
	"strings"
)

// whyNot says what a line is that no format reads, as far as its form tells.
// far and at are the furthest operator that layout f could not read.
func whyNot(body string) string {
	t := strings.TrimLeft(body, " \t")
	switch {
	case t == "":
		return "empty line"
	case strings.Contains(t, "src.addr=") && strings.Contains(t, "dst.addr="):
		return "a ztunnel access line: ztunnel is not Envoy, it logs connections in a form of its own"
	case strings.Contains(t, "vcap_request_id:"), strings.Contains(t, "[RTR/"):
		return "a gorouter access line: Cloud Foundry's router, not Envoy"
	case strings.Contains(t, "] - -") && strings.Contains(t, "kube-probe"):
		return "an application's access line, not Envoy's"
	}
	if level, logger, ok := envoyMessage(t); ok {
		return fmt.Sprintf("a log message of Envoy (%s, %s), not an access line", level, logger)
	}
	if level, ok := agentMessage(t); ok {
		return fmt.Sprintf("a log message of the proxy's agent or of Envoy (%s), not an access line", level)
	}
	if len(t) > 6 && strings.IndexByte("IWEF", t[0]) >= 0 && digit(t[1]) && digit(t[4]) && t[5] == ' ' {
		return "a log message in klog's form, not an access line"
	}
	if commonLog(t) {
		return "an access line in the common log format of web servers, not Envoy's"
	}
	return ""
}

// envoyMessage recognises [2024-01-02 03:04:05.678][15][info][main] [file:line] ...
func envoyMessage(s string) (level, logger string, ok bool) {
	if bracketedTime(s) != 0 {
		return "", "", false
	}
	rest := s
	var parts [4]string
	for i := range parts {
		if !strings.HasPrefix(rest, "[") {
			return "", "", false
		}
		end := strings.IndexByte(rest, ']')
		if end < 0 || end > 64 {
			return "", "", false
		}
		parts[i], rest = rest[1:end], rest[end+1:]
	}
	if ok, _ := whole(parts[1], digit); !ok || !isLevel(parts[2]) || !isName(parts[3]) {
		return "", "", false
	}
	return parts[2], parts[3], true
}

// agentMessage recognises TIME<tab>LEVEL<tab>..., the form of Istio's programs
// and of Envoy under them, and a JSON object with level and msg.
func agentMessage(s string) (level string, ok bool) {
	stamp, rest, ok := strings.Cut(s, "\t")
	if !ok {
		stamp, rest, ok = strings.Cut(s, " ")
	}
	if ok && isTime(stamp) {
		word, _, _ := strings.Cut(strings.TrimLeft(rest, " \t"), "\t")
		word, _, _ = strings.Cut(word, " ")
		if isLevel(word) {
			return word, true
		}
	}
	if !strings.HasPrefix(s, "{") {
		return "", false
	}
	message := false
	err := scanJSON(s, nil, func(path []byte, kind jsonKind, v string) bool {
		switch string(path) {
		case "level", "severity":
			if kind == jsonString && isLevel(v) {
				level = v
			}
		case "msg", "message":
			message = true
		}
		return true
	})
	return level, err == nil && message && level != ""
}

func isLevel(s string) bool {
	switch strings.ToLower(s) {
	case "trace", "debug", "info", "warn", "warning", "error", "err", "critical", "fatal", "notice", "off":
		return true
	}
	return false
}

// commonLog recognises ADDRESS - USER [10/Oct/2000:13:55:36 -0700] "...
func commonLog(s string) bool {
	i := strings.IndexByte(s, '[')
	if i < 0 || i > 300 || len(s) < i+22 {
		return false
	}
	d := s[i+1:]
	return digit(d[0]) && digit(d[1]) && d[2] == '/' && d[6] == '/' && d[11] == ':'
}
