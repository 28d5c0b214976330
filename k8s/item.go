package k8s

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// item is one object of a list, with what one may look it up by.
type item struct {
	raw  []byte
	off  int // in the data; -1 in YAML
	line int // YAML only

	apiVersion, kind, ns, name, uid string

	labels      []byte // JSON
	annotations []byte
	selector    []byte // spec.selector
	created     string

	// what the question "whose address is it" needs, from spec and status
	clusterIPs, externalIPs, lbIPs []netip.Addr
	lbNames                        []string
	addrs                          []netip.Addr // of a Pod or a node
	hostIP                         netip.Addr
	nodePorts                      []uint16
	healthPort                     uint16
	node                           string
	phase                          string
	hostNetwork                    bool

	obj any // decoded, guarded by the list's mutex
}

func (it *item) key() string { return it.ns + "/" + it.name }

func (it *item) group() string {
	g, _, ok := strings.Cut(it.apiVersion, "/")
	if !ok {
		return ""
	}
	return g
}

func (it *item) labelMap() map[string]string      { return stringMap(it.labels) }
func (it *item) annotationMap() map[string]string { return stringMap(it.annotations) }

func (it *item) createdAt() time.Time {
	t, _ := time.Parse(time.RFC3339, it.created)
	return t
}

// stringMap decodes an object of strings; other members are left out.
func stringMap(b []byte) map[string]string {
	if len(b) == 0 {
		return nil
	}
	m := map[string]string{}
	c := &cursor{b: b}
	_ = c.object(0, func(key []byte) error {
		if c.peek() != '"' {
			return c.skip(1)
		}
		s, err := c.text()
		m[unquote(key)] = s
		return err
	})
	return m
}

// readItem reads the object at the cursor.
func readItem(c *cursor) (*item, error) {
	c.space()
	it := &item{off: c.i}
	err := c.object(1, func(key []byte) (err error) {
		switch string(key) {
		case "apiVersion":
			it.apiVersion, err = c.intern()
		case "kind":
			it.kind, err = c.intern()
		case "metadata":
			err = it.metadata(c)
		case "spec":
			err = it.spec(c)
		case "status":
			err = it.status(c)
		default:
			err = c.skip(2)
		}
		return err
	})
	it.raw = c.b[it.off:c.i:c.i]
	return it, err
}

// intern is text for words that are the same in most items.
func (c *cursor) intern() (string, error) {
	if c.peek() != '"' {
		return "", c.skip(0)
	}
	s, err := c.str()
	if err != nil {
		return "", err
	}
	for _, w := range [...]string{"v1", "Pod", "Service", "discovery.k8s.io/v1", "EndpointSlice", "Node", "Running", "networking.istio.io/v1", "VirtualService"} {
		if string(s) == w {
			return w, nil
		}
	}
	return unquote(s), nil
}

func (it *item) metadata(c *cursor) error {
	return c.object(2, func(key []byte) (err error) {
		switch string(key) {
		case "name":
			it.name, err = c.text()
		case "namespace":
			it.ns, err = c.text()
		case "uid":
			it.uid, err = c.text()
		case "creationTimestamp":
			it.created, err = c.text()
		case "labels":
			it.labels, err = c.value(3)
		case "annotations":
			it.annotations, err = c.value(3)
		default:
			err = c.skip(3)
		}
		return err
	})
}

func (it *item) spec(c *cursor) error {
	return c.object(2, func(key []byte) (err error) {
		switch string(key) {
		case "nodeName":
			it.node, err = c.text()
		case "hostNetwork":
			it.hostNetwork = c.peek() == 't'
			err = c.skip(3)
		case "selector":
			it.selector, err = c.value(3)
		case "clusterIP":
			err = c.addr(&it.clusterIPs)
		case "clusterIPs":
			err = c.array(3, func() error { return c.addr(&it.clusterIPs) })
		case "externalIPs":
			err = c.array(3, func() error { return c.addr(&it.externalIPs) })
		case "healthCheckNodePort":
			var n int64
			n, err = c.integer()
			it.healthPort = port16(n)
		case "ports":
			err = c.array(3, func() error {
				return c.object(4, func(key []byte) error {
					if string(key) != "nodePort" {
						return c.skip(5)
					}
					n, err := c.integer()
					if p := port16(n); p != 0 {
						it.nodePorts = append(it.nodePorts, p)
					}
					return err
				})
			})
		default:
			err = c.skip(3)
		}
		return err
	})
}

func (it *item) status(c *cursor) error {
	return c.object(2, func(key []byte) (err error) {
		switch string(key) {
		case "podIP":
			err = c.addr(&it.addrs)
		case "podIPs":
			err = c.addrsAt(&it.addrs, "ip")
		case "addresses": // of a node
			err = c.addrsAt(&it.addrs, "address")
		case "hostIP":
			var a []netip.Addr
			if err = c.addr(&a); len(a) > 0 {
				it.hostIP = a[0]
			}
		case "phase":
			it.phase, err = c.intern()
		case "loadBalancer":
			err = c.object(3, func(key []byte) error {
				if string(key) != "ingress" {
					return c.skip(4)
				}
				return c.array(4, func() error {
					return c.object(5, func(key []byte) error {
						switch string(key) {
						case "ip":
							return c.addr(&it.lbIPs)
						case "hostname":
							name, err := c.text()
							if name != "" {
								it.lbNames = append(it.lbNames, name)
							}
							return err
						}
						return c.skip(6)
					})
				})
			})
		default:
			err = c.skip(3)
		}
		return err
	})
}

// addr appends the address at the cursor, if it is one that is not there yet.
func (c *cursor) addr(to *[]netip.Addr) error {
	if c.peek() != '"' {
		return c.skip(4)
	}
	s, err := c.str()
	if err != nil {
		return err
	}
	if len(s) > 45 { // the longest textual IPv6 address
		return nil
	}
	if a, err := netip.ParseAddr(string(s)); err == nil {
		if a = a.Unmap(); !slices.Contains(*to, a) {
			*to = append(*to, a)
		}
	}
	return nil
}

// addrsAt appends member of every object in the array at the cursor.
func (c *cursor) addrsAt(to *[]netip.Addr, member string) error {
	return c.array(4, func() error {
		return c.object(5, func(key []byte) error {
			if string(key) != member {
				return c.skip(6)
			}
			return c.addr(to)
		})
	})
}

func port16(n int64) uint16 {
	if n < 1 || n > 65535 {
		return 0
	}
	return uint16(n)
}

// scanYAML reads what kubectl -o yaml prints. A list is cut at the dashes in
// the first column, so that a large one is never held as one tree.
func scanYAML(data []byte, f func(*item) error) error {
	line := 1
	for doc := range documents(data) {
		n := bytes.Count(doc, []byte("\n"))
		if err := scanYAMLDoc(doc, line, f); err != nil {
			return err
		}
		line += n
	}
	return nil
}

// documents yields the YAML documents of data; together they are data.
func documents(data []byte) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		start := 0
		for i := 0; i < len(data); {
			end := len(data)
			if n := bytes.IndexByte(data[i:], '\n'); n >= 0 {
				end = i + n + 1
			}
			if l := bytes.TrimRight(data[i:end], " \t\r\n"); i > start && (bytes.Equal(l, []byte("---")) || bytes.HasPrefix(l, []byte("--- "))) {
				if !yield(data[start:i]) {
					return
				}
				start = i
			}
			i = end
		}
		yield(data[start:])
	}
}

func scanYAMLDoc(doc []byte, line int, f func(*item) error) error {
	var head []byte // what is not an item
	type chunk struct {
		text []byte
		line int
	}
	var chunks []chunk
	inItems := false
	start, startLine, n := -1, 0, line
	flush := func(end int) {
		if start >= 0 {
			chunks = append(chunks, chunk{doc[start:end], startLine})
		}
		start = -1
	}
	for i := 0; i < len(doc); n++ {
		end := len(doc)
		if k := bytes.IndexByte(doc[i:], '\n'); k >= 0 {
			end = i + k + 1
		}
		l := doc[i:end]
		switch {
		case inItems && (bytes.HasPrefix(l, []byte("- ")) || string(bytes.TrimRight(l, " \r\n")) == "-"):
			flush(i)
			start, startLine = i, n
		case inItems && len(bytes.TrimSpace(l)) > 0 && l[0] != ' ' && l[0] != '#' && l[0] != '\t':
			flush(i)
			inItems = false
			head = append(head, l...)
		case inItems:
		case string(bytes.TrimRight(l, " \r\n")) == "items:":
			inItems = true
		default:
			head = append(head, l...)
		}
		i = end
	}
	flush(len(doc))
	if len(chunks) == 0 {
		return convertYAML(doc, line, f)
	}
	var list struct{ Kind, APIVersion string }
	if err := yaml.Unmarshal(head, &list); err != nil {
		return yamlError(err, line)
	}
	for _, ch := range chunks {
		err := convertYAML(ch.text, ch.line, func(it *item) error {
			if k, ok := strings.CutSuffix(list.Kind, "List"); ok && it.kind == "" && k != "" {
				it.kind, it.apiVersion = k, list.APIVersion
			}
			return f(it)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// convertYAML reads one document, or a piece of a list that is a list of one.
func convertYAML(text []byte, line int, f func(*item) error) error {
	js, err := yaml.YAMLToJSON(text)
	if err != nil {
		return yamlError(err, line)
	}
	if s := bytes.TrimSpace(js); len(s) == 0 || string(s) == "null" {
		return nil
	} else if s[0] != '{' && s[0] != '[' {
		return &DecodeError{Line: line, Column: 1, Msg: "not a list of objects"}
	}
	err = scanJSON(js, func(it *item) error {
		it.off, it.line = -1, line
		return f(it)
	})
	if se, ok := err.(*scanError); ok {
		return &DecodeError{Line: line, Column: 1, Msg: se.msg}
	}
	return err
}

// yamlError finds the line in what the YAML parser says, which counts from the
// piece that it was given.
func yamlError(err error, line int) error {
	msg := strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	msg = strings.TrimPrefix(msg, "yaml: ")
	if rest, ok := strings.CutPrefix(msg, "line "); ok {
		if num, text, ok := strings.Cut(rest, ": "); ok {
			n := 0
			for _, r := range num {
				if r < '0' || r > '9' || n > 1<<30 {
					n = 0
					break
				}
				n = n*10 + int(r-'0')
			}
			if n > 0 {
				return &DecodeError{Line: line + n - 1, Column: 1, Msg: "broken YAML: " + text}
			}
		}
	}
	return &DecodeError{Line: line, Column: 1, Msg: "broken YAML: " + msg}
}
