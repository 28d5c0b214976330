package live

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// item is one object of a list, as JSON.
type item struct{ data []byte }

// joinItems writes a list as `kubectl get -o json` does: a List whose items say
// what they are.
func joinItems(items []item) []byte {
	n := 128
	for _, it := range items {
		n += len(it.data) + 2
	}
	out := make([]byte, 0, n)
	out = append(out, `{"apiVersion":"v1","kind":"List","metadata":{"resourceVersion":""},"items":[`...)
	for i, it := range items {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, '\n')
		out = append(out, it.data...)
	}
	return append(out, "\n]}\n"...)
}

// maxDepth bounds the nesting of a JSON answer.
const maxDepth = 500

var errJSON = errors.New("broken JSON")

// splitList takes a list of the API apart without decoding its objects. Every
// item gets the apiVersion and kind that the API leaves out within a list, and
// loses metadata.managedFields, as with kubectl. cont is the token of the next
// page.
func splitList(data []byte, secret bool) (items []item, cont string, err error) {
	var apiVersion, kind string
	var list []byte
	err = members(data, func(m member) error {
		switch m.key {
		case "apiVersion":
			apiVersion = unquote(m.value)
		case "kind":
			kind = unquote(m.value)
		case "metadata":
			if bytes.Equal(m.value, []byte("null")) {
				return nil
			}
			return members(m.value, func(m member) error {
				if m.key == "continue" {
					cont = unquote(m.value)
				}
				return nil
			})
		case "items":
			list = m.value
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	if len(kind) < 4 || kind[len(kind)-4:] != "List" {
		return nil, "", fmt.Errorf("%w: kind %q is no list", errJSON, kind)
	}
	kind = kind[:len(kind)-4]
	if list == nil || bytes.Equal(list, []byte("null")) {
		return nil, cont, nil
	}
	err = elements(list, func(value []byte) error {
		v, err := cleanItem(value, apiVersion, kind, secret)
		items = append(items, item{v})
		return err
	})
	return items, cont, err
}

// cleanItem returns an object with its apiVersion and kind, without
// managedFields, and of a Secret without any value.
func cleanItem(data []byte, apiVersion, kind string, secret bool) ([]byte, error) {
	out := make([]byte, 0, len(data)+64)
	out = append(out, '{')
	first, typed := true, false
	put := func(raw, value []byte) {
		if !first {
			out = append(out, ',')
		}
		first = false
		out = append(out, raw...)
		out = append(out, ':')
		out = append(out, value...)
	}
	err := members(data, func(m member) error {
		switch {
		case m.key == "kind" || m.key == "apiVersion":
			typed = true
		case m.key == "metadata":
			v, err := cleanMetadata(m.value, secret)
			if err != nil {
				return err
			}
			m.value = v
		case secret && (m.key == "data" || m.key == "stringData"):
			v, err := redacted(m.value)
			if err != nil {
				return err
			}
			m.value = v
		}
		put(m.raw, m.value)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !typed && kind != "" {
		put([]byte(`"apiVersion"`), quoteJSON(apiVersion))
		put([]byte(`"kind"`), quoteJSON(kind))
	}
	return append(out, '}'), nil
}

func cleanMetadata(data []byte, secret bool) ([]byte, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return data, nil
	}
	if !secret && !bytes.Contains(data, []byte(`"managedFields"`)) {
		return data, nil
	}
	out := []byte{'{'}
	err := members(data, func(m member) error {
		// The annotations of a Secret may hold the whole Secret once more.
		if m.key == "managedFields" || secret && m.key == "annotations" {
			return nil
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, m.raw...)
		out = append(out, ':')
		out = append(out, m.value...)
		return nil
	})
	return append(out, '}'), err
}

// redacted keeps the keys of a Secret's data.
func redacted(data []byte) ([]byte, error) {
	if bytes.Equal(data, []byte("null")) {
		return data, nil
	}
	out := []byte{'{'}
	err := members(data, func(m member) error {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, m.raw...)
		out = append(out, `:"REDACTED"`...)
		return nil
	})
	return append(out, '}'), err
}

// member is one key and value of an object, as parts of its text.
type member struct {
	key        string
	raw, value []byte
}

func unquote(raw []byte) string {
	if len(raw) < 2 || raw[0] != '"' {
		return ""
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// members calls fn with every member of the object in data.
func members(data []byte, fn func(m member) error) error {
	i := space(data, 0)
	if i >= len(data) || data[i] != '{' {
		return fmt.Errorf("%w: no object", errJSON)
	}
	i = space(data, i+1)
	for first := true; ; first = false {
		if i >= len(data) {
			return fmt.Errorf("%w: ends within an object", errJSON)
		}
		if data[i] == '}' && first {
			break
		}
		if data[i] != '"' {
			return fmt.Errorf("%w: no key at byte %d", errJSON, i)
		}
		end, err := skip(data, i)
		if err != nil {
			return err
		}
		m := member{key: unquote(data[i:end]), raw: data[i:end]}
		i = space(data, end)
		if i >= len(data) || data[i] != ':' {
			return fmt.Errorf("%w: no colon at byte %d", errJSON, i)
		}
		i = space(data, i+1)
		if end, err = skip(data, i); err != nil {
			return err
		}
		m.value = data[i:end]
		if err := fn(m); err != nil {
			return err
		}
		i = space(data, end)
		if i < len(data) && data[i] == ',' {
			i = space(data, i+1)
			continue
		}
		if i < len(data) && data[i] == '}' {
			break
		}
		return fmt.Errorf("%w: neither comma nor brace at byte %d", errJSON, i)
	}
	if i = space(data, i+1); i != len(data) {
		return fmt.Errorf("%w: more after the object at byte %d", errJSON, i)
	}
	return nil
}

// elements calls fn with every element of the array in data.
func elements(data []byte, fn func(value []byte) error) error {
	if len(data) == 0 || data[0] != '[' {
		return fmt.Errorf("%w: no array", errJSON)
	}
	i := space(data, 1)
	for first := true; ; first = false {
		if i >= len(data) {
			return fmt.Errorf("%w: ends within an array", errJSON)
		}
		if data[i] == ']' && first {
			return nil
		}
		end, err := skip(data, i)
		if err != nil {
			return err
		}
		if err := fn(data[i:end]); err != nil {
			return err
		}
		i = space(data, end)
		if i < len(data) && data[i] == ',' {
			i = space(data, i+1)
			continue
		}
		if i < len(data) && data[i] == ']' {
			return nil
		}
		return fmt.Errorf("%w: neither comma nor bracket at byte %d", errJSON, i)
	}
}

func space(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
		i++
	}
	return i
}

// skip returns the end of the value that begins at i. It checks the nesting and
// the strings, not every number.
func skip(data []byte, i int) (int, error) {
	var open []byte
	for i < len(data) {
		switch c := data[i]; c {
		case '"':
			end := stringEnd(data, i)
			if end < 0 {
				return 0, fmt.Errorf("%w: ends within a string", errJSON)
			}
			i = end
		case '{', '[':
			if len(open) == maxDepth {
				return 0, fmt.Errorf("%w: nested deeper than %d", errJSON, maxDepth)
			}
			open = append(open, c)
			i++
			continue
		case '}', ']':
			if len(open) == 0 || open[len(open)-1] != c-2 {
				return 0, fmt.Errorf("%w: unexpected %q at byte %d", errJSON, c, i)
			}
			open = open[:len(open)-1]
			i++
		case ',', ':', ' ', '\n', '\t', '\r':
			if len(open) == 0 {
				return 0, fmt.Errorf("%w: no value at byte %d", errJSON, i)
			}
			i++
			continue
		default:
			start := i
			for i < len(data) && (data[i] >= '0' && data[i] <= '9' || data[i] >= 'a' && data[i] <= 'z' || data[i] == '-' || data[i] == '+' || data[i] == '.' || data[i] == 'E') {
				i++
			}
			if i == start {
				return 0, fmt.Errorf("%w: unexpected %q at byte %d", errJSON, c, i)
			}
		}
		if len(open) == 0 {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%w: ends within a value", errJSON)
}

// stringEnd returns the index after the string that begins at i, or -1.
func stringEnd(data []byte, i int) int {
	i++
	for {
		j := bytes.IndexByte(data[i:], '"')
		if j < 0 {
			return -1
		}
		i += j
		slashes := 0
		for k := i - 1; k >= 0 && data[k] == '\\'; k-- {
			slashes++
		}
		i++
		if slashes%2 == 0 {
			return i
		}
	}
}

// whole says whether data is one JSON value and nothing more.
func whole(data []byte) error {
	i := space(data, 0)
	end, err := skip(data, i)
	if err != nil {
		return err
	}
	if space(data, end) != len(data) {
		return fmt.Errorf("%w: more after the value at byte %d", errJSON, end)
	}
	return nil
}

// quoteJSON is s as a JSON string.
func quoteJSON(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		return []byte(`""`) // a string always marshals
	}
	return b
}
