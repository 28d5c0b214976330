package envoyadmin

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/jsonscan"
)

// statusIndex is /clusters by cluster name: where each stands, not decoded.
type statusIndex struct {
	name   string
	data   []byte
	text   bool
	byName map[string][]span // JSON: one span; text: the runs of lines
}

type span struct{ from, to int }

// clusterStatus is what /clusters says of one cluster.
type clusterStatus struct {
	edsName string
	hosts   []hostStatus
	limits  map[string]uint64 // default_priority::max_requests ...
}

// hostStatus is what /clusters says of one host. The flags have the names of
// the text form.
type hostStatus struct {
	address  string
	hostname string
	flags    []string
	eds      string // HEALTHY, UNHEALTHY, DEGRADED, DRAINING, TIMEOUT, UNKNOWN
	weight   uint32
	priority uint32
	locality string
	stats    map[string]uint64
}

// AddClusters adds what /clusters printed, as text or JSON: health, weights and
// statistics of each host.
func (d *Dump) AddClusters(name string, data []byte) error {
	data, err := inflate(name, data)
	if err != nil {
		return err
	}
	x := &statusIndex{name: name, data: data, byName: map[string][]span{}}
	if i, is := jsonPage(data); is {
		if err := x.indexJSON(i); err != nil {
			var e *jsonscan.Error
			if errors.As(err, &e) {
				return syntaxError(name, data, exact(data, e))
			}
			return err
		}
		d.setStatus(x)
		return nil
	}
	x.text = true
	if len(bytes.TrimSpace(data)) == 0 {
		return syntaxError(name, data, &jsonscan.Error{Offset: 0, Msg: "empty: not the output of /clusters"})
	}
	at := 0
	for line := range bytes.Lines(data) {
		from := at
		at += len(line)
		cluster, rest, ok := strings.Cut(string(line), "::")
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if !ok || !strings.Contains(rest, "::") {
			return syntaxError(name, data, &jsonscan.Error{Offset: from, Msg: "not the output of /clusters: want lines of cluster::host::key::value"})
		}
		runs := x.byName[cluster]
		if n := len(runs); n > 0 && runs[n-1].to == from {
			runs[n-1].to = at
		} else {
			x.byName[cluster] = append(runs, span{from, at})
		}
	}
	d.setStatus(x)
	return nil
}

// setStatus replaces what /clusters said; what was decoded before knew none of
// it.
func (d *Dump) setStatus(x *statusIndex) { d.status, d.cache.clusters = x, nil }

// jsonPage says whether an admin page is JSON, and where it begins.
func jsonPage(data []byte) (at int, is bool) {
	at = jsonscan.Space(data, bom(data))
	return at, at < len(data) && (data[at] == '{' || data[at] == '[')
}

func (x *statusIndex) indexJSON(i int) error {
	if len(x.data) <= checkAll {
		if _, err := jsonscan.Check(x.data, i); err != nil {
			return err
		}
	}
	found := false
	end, err := jsonscan.Object(x.data, i, func(k []byte, at int) (int, error) {
		switch string(k) {
		case "cluster_statuses", "clusterStatuses":
		default:
			return 0, nil
		}
		found = true
		if at >= len(x.data) || x.data[at] != '[' {
			return 0, nil
		}
		return jsonscan.Array(x.data, at, func(_, at int) (int, error) {
			end, err := jsonscan.Value(x.data, at)
			if err != nil || x.data[at] != '{' {
				return end, err
			}
			n, err := jsonscan.Field(x.data, at, "name")
			if err != nil {
				return end, err
			}
			name := jsonscan.Text(x.data, n)
			x.byName[name] = append(x.byName[name], span{at, end})
			return end, nil
		})
	})
	if err != nil {
		return err
	}
	if next := jsonscan.Space(x.data, i+1); !found && x.data[next] != '}' {
		return &jsonscan.Error{Offset: i, Msg: "not the output of /clusters: want an object with cluster_statuses"}
	}
	if end = jsonscan.Space(x.data, end); end != len(x.data) {
		return &jsonscan.Error{Offset: end, Msg: "more behind the object"}
	}
	return nil
}

// jsonHost and jsonCluster are /clusters?format=json. Numbers come as strings
// or numbers.
type jsonHost struct {
	Address struct {
		SocketAddress *struct {
			Address string      `json:"address"`
			Port    json.Number `json:"port_value"`
		} `json:"socket_address"`
		Pipe *struct {
			Path string `json:"path"`
		} `json:"pipe"`
		Internal *struct {
			Name     string `json:"server_listener_name"`
			Endpoint string `json:"endpoint_id"`
		} `json:"envoy_internal_address"`
	} `json:"address"`
	Hostname string         `json:"hostname"`
	Weight   *flexible      `json:"weight"`
	Priority flexible       `json:"priority"`
	Locality map[string]any `json:"locality"`
	Stats    []struct {
		Name  string   `json:"name"`
		Value flexible `json:"value"`
	} `json:"stats"`
	Health map[string]any `json:"health_status"`
}

type flexible uint64

// UnmarshalJSON takes a whole number, quoted or not; of anything else, and of what
// is too large to be one, it keeps nothing.
func (f *flexible) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		*f = flexible(n)
	} else if n, err := strconv.ParseFloat(text, 64); err == nil && n > 0 && n < 1<<53 && n == math.Trunc(n) {
		*f = flexible(n) // 1e3
	}
	return nil
}

type jsonCluster struct {
	EDSServiceName string          `json:"eds_service_name"`
	Hosts          []jsonHost      `json:"host_statuses"`
	Breakers       json.RawMessage `json:"circuit_breakers"`
}

// flagOf maps the JSON fields of HostHealthStatus to the flags of the text form.
// Source: source/server/admin/clusters_handler.cc.
var flagOf = map[string]string{
	"failed_active_health_check":        "failed_active_hc",
	"failed_outlier_check":              "failed_outlier_check",
	"failed_active_degraded_check":      "degraded_active_hc",
	"failed_degraded_outlier_detection": "degraded_outlier_detection",
	"pending_dynamic_removal":           "pending_dynamic_removal",
	"pending_active_hc":                 "pending_active_hc",
	"excluded_via_immediate_hc_fail":    "excluded_via_immediate_hc_fail",
	"active_hc_timeout":                 "active_hc_timeout",
	"eds_health_status":                 "",
}

func snake(s string) string {
	var b strings.Builder
	for _, c := range s {
		if c >= 'A' && c <= 'Z' {
			b.WriteByte('_')
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return b.String()
}

// statusOf returns what /clusters says of a cluster; nil if nothing.
func (d *Dump) statusOf(name string) *clusterStatus {
	x := d.status
	if x == nil {
		return nil
	}
	runs := x.byName[name]
	if len(runs) == 0 {
		return nil
	}
	if x.text {
		return x.textStatus(name, runs)
	}
	var c jsonCluster
	if json.Unmarshal(x.data[runs[0].from:runs[0].to], &c) != nil {
		return nil
	}
	s := &clusterStatus{edsName: c.EDSServiceName, limits: map[string]uint64{}}
	for i := range c.Hosts {
		s.hosts = append(s.hosts, c.Hosts[i].status())
	}
	return s
}

func (h *jsonHost) status() hostStatus {
	out := hostStatus{hostname: h.Hostname, weight: 1, priority: uint32(h.Priority), stats: map[string]uint64{}, eds: "UNKNOWN"}
	switch a := h.Address; {
	case a.SocketAddress != nil:
		out.address = hostPort(a.SocketAddress.Address, a.SocketAddress.Port.String())
	case a.Pipe != nil:
		out.address = a.Pipe.Path
	case a.Internal != nil:
		out.address = "envoy://" + a.Internal.Name + "/" + a.Internal.Endpoint
	}
	if h.Weight != nil {
		out.weight = uint32(*h.Weight)
	}
	loc := func(k string) string { s, _ := h.Locality[k].(string); return s }
	out.locality = locality(loc("region"), loc("zone"), loc("sub_zone"))
	for _, s := range h.Stats {
		out.stats[s.Name] = uint64(s.Value)
	}
	for k, v := range h.Health {
		switch v := v.(type) {
		case bool:
			if f, known := flagOf[snake(k)]; known && v && f != "" {
				out.flags = append(out.flags, f)
			} else if !known && v {
				out.flags = append(out.flags, snake(k))
			}
		case string:
			if snake(k) == "eds_health_status" {
				out.eds = v
			}
		}
	}
	slices.Sort(out.flags)
	return out
}

func hostPort(host, port string) string {
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
		return "[" + host + "]:" + port
	}
	if port == "" {
		port = "0"
	}
	return host + ":" + port
}

func locality(region, zone, sub string) string {
	return strings.TrimRight(region+"/"+zone+"/"+sub, "/")
}

// textStatus reads the lines of one cluster: name::address::key::value, where
// the address may hold :: itself, or name::key::value of the cluster.
func (x *statusIndex) textStatus(name string, runs []span) *clusterStatus {
	s := &clusterStatus{limits: map[string]uint64{}}
	index := map[string]int{}
	for _, r := range runs {
		for line := range bytes.Lines(x.data[r.from:r.to]) {
			rest := strings.TrimRight(string(line[len(name)+2:]), "\r\n")
			cut := strings.LastIndex(rest, "::")
			if cut < 0 {
				continue
			}
			left, value := rest[:cut], rest[cut+2:]
			cut = strings.LastIndex(left, "::")
			if cut < 0 {
				if left == "eds_service_name" {
					s.edsName = value
				}
				continue
			}
			addr, key := left[:cut], left[cut+2:]
			switch addr {
			case "default_priority", "high_priority":
				if n, err := strconv.ParseUint(value, 10, 64); err == nil {
					s.limits[addr+"::"+key] = n
				}
				continue
			case "outlier":
				continue
			}
			i, ok := index[addr]
			if !ok {
				i = len(s.hosts)
				index[addr] = i
				s.hosts = append(s.hosts, hostStatus{address: addr, weight: 1, eds: "UNKNOWN", stats: map[string]uint64{}})
			}
			s.hosts[i].set(key, value)
		}
	}
	return s
}

func (h *hostStatus) set(key, value string) {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		n = 0 // of what is too large it is the largest
	}
	part := func(i int) {
		p := strings.SplitN(h.locality+"//", "/", 3)
		p[2] = strings.TrimRight(p[2], "/")
		p[i] = value
		h.locality = locality(p[0], p[1], p[2])
	}
	switch key {
	case "hostname":
		h.hostname = value
	case "weight":
		h.weight = uint32(n)
	case "priority":
		h.priority = uint32(n)
	case "region":
		part(0)
	case "zone":
		part(1)
	case "sub_zone":
		part(2)
	case "health_flags":
		for f := range strings.SplitSeq(value, "/") {
			switch f {
			case "", "healthy":
			case "failed_eds_health":
				h.eds = "UNHEALTHY"
			case "degraded_eds_health":
				h.eds = "DEGRADED"
			case "eds_status_draining":
				h.eds = "DRAINING"
			default:
				h.flags = append(h.flags, f)
			}
		}
	default:
		h.stats[key] = n
	}
}

// AddListeners adds what /listeners printed, as text or JSON.
func (d *Dump) AddListeners(name string, data []byte) error {
	data, err := inflate(name, data)
	if err != nil {
		return err
	}
	var doc struct {
		Statuses []struct {
			Name    string          `json:"name"`
			Address json.RawMessage `json:"local_address"`
		} `json:"listener_statuses"`
	}
	open := map[string]string{}
	if _, is := jsonPage(data); is {
		if err := unmarshal(name, data, &doc, "/listeners", "listener_statuses"); err != nil {
			return err
		}
		for _, s := range doc.Statuses {
			var l listenerEntry
			if len(s.Address) > 0 {
				l.address(s.Address, 0)
			}
			open[s.Name] = l.addr()
		}
	} else {
		at := 0
		for line := range strings.Lines(string(data)) {
			from := at
			at += len(line)
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			n, addr, ok := strings.Cut(line, "::")
			if !ok {
				return syntaxError(name, data, &jsonscan.Error{Offset: from, Msg: "not the output of /listeners: want lines of name::address"})
			}
			open[n] = addr
		}
	}
	d.open = open
	return nil
}

// Certificate is a certificate of a proxy, as /certs or the configuration shows
// it. Times are RFC 3339.
type Certificate struct {
	Name      string   `json:"name"` // of the secret, or the path it was read from
	Subject   string   `json:"subject,omitempty"`
	Serial    string   `json:"serial,omitempty"`
	SANs      []string `json:"sans,omitempty"`
	NotBefore string   `json:"not_before,omitempty"`
	NotAfter  string   `json:"not_after,omitempty"`
	CA        bool     `json:"ca,omitempty"`
	Source    string   `json:"source"` // /certs, or the path inside the dump
}

// AddCerts adds what /certs printed.
func (d *Dump) AddCerts(name string, data []byte) error {
	data, err := inflate(name, data)
	if err != nil {
		return err
	}
	type details struct {
		Path string                       `json:"path"`
		SN   string                       `json:"serial_number"`
		SANs []map[string]json.RawMessage `json:"subject_alt_names"`
		From string                       `json:"valid_from"`
		To   string                       `json:"expiration_time"`
	}
	var doc struct {
		Certificates []struct {
			CA    []details `json:"ca_cert"`
			Chain []details `json:"cert_chain"`
		} `json:"certificates"`
	}
	if err := unmarshal(name, data, &doc, "/certs", "certificates"); err != nil {
		return err
	}
	add := func(list []details, ca bool) {
		for _, c := range list {
			out := Certificate{Name: c.Path, Serial: c.SN, NotBefore: c.From, NotAfter: c.To, CA: ca, Source: "/certs"}
			for _, s := range c.SANs {
				for _, v := range s {
					var t string
					if json.Unmarshal(v, &t) == nil {
						out.SANs = append(out.SANs, t)
					}
				}
			}
			slices.Sort(out.SANs)
			d.certs = append(d.certs, out)
		}
	}
	for _, c := range doc.Certificates {
		add(c.Chain, false)
		add(c.CA, true)
	}
	return nil
}

// ServerInfo is the part of /server_info that tells the state of the proxy.
type ServerInfo struct {
	Version string `json:"version"`
	State   string `json:"state"`
	Uptime  string `json:"uptime_current_epoch"`
}

// AddServerInfo adds what /server_info printed.
func (d *Dump) AddServerInfo(name string, data []byte) error {
	data, err := inflate(name, data)
	if err != nil {
		return err
	}
	var info ServerInfo
	if err := unmarshal(name, data, &info, "/server_info", "version", "state"); err != nil {
		return err
	}
	d.server = &info
	return nil
}

// AddStats adds what /stats printed, as text or JSON. Only counters and gauges
// are kept.
func (d *Dump) AddStats(name string, data []byte) error {
	data, err := inflate(name, data)
	if err != nil {
		return err
	}
	stats := map[string]uint64{}
	if _, is := jsonPage(data); is {
		var doc struct {
			Stats []struct {
				Name  string          `json:"name"`
				Value json.RawMessage `json:"value"`
			} `json:"stats"`
		}
		if err := unmarshal(name, data, &doc, "/stats", "stats"); err != nil {
			return err
		}
		for _, s := range doc.Stats {
			if n, err := strconv.ParseUint(strings.Trim(string(s.Value), `"`), 10, 64); err == nil {
				stats[s.Name] = n
			}
		}
	} else {
		at := 0
		for line := range strings.Lines(string(data)) {
			from := at
			at += len(line)
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			cut := strings.LastIndex(line, ": ")
			if cut <= 0 {
				return syntaxError(name, data, &jsonscan.Error{Offset: from, Msg: "not the output of /stats: want lines of name: value"})
			}
			if n, err := strconv.ParseUint(line[cut+2:], 10, 64); err == nil {
				stats[line[:cut]] = n
			}
		}
	}
	d.stats = stats
	return nil
}

// Stat returns a counter or gauge of /stats and whether it was there.
func (d *Dump) Stat(name string) (uint64, bool) {
	v, ok := d.stats[name]
	return v, ok
}

// unmarshal reads the object that an admin page prints as JSON. Input that is
// truncated, not JSON, or without any of the fields the page has is a
// *[SyntaxError]; an object without fields is a page that lists nothing.
func unmarshal(name string, data []byte, into any, page string, fields ...string) error {
	var e *jsonscan.Error
	at, _ := jsonPage(data)
	end, err := jsonscan.Check(data, at)
	if next := jsonscan.Space(data, end); err == nil && next != len(data) {
		err = &jsonscan.Error{Offset: next, Msg: "more behind the object"}
	}
	if err == nil {
		known, some := false, true
		if data[at] == '{' {
			some = false
			_, err = jsonscan.Object(data, at, func(k []byte, _ int) (int, error) {
				known, some = known || slices.Contains(fields, string(k)), true
				return 0, nil
			})
		}
		if err == nil && some && !known {
			err = &jsonscan.Error{Offset: at, Msg: "not the output of " + page + ": want an object with " + strings.Join(fields, " or ")}
		}
	}
	if errors.As(err, &e) {
		return syntaxError(name, data, e)
	}
	var misfit *json.UnmarshalTypeError
	switch err := json.Unmarshal(data[at:end], into); {
	case errors.As(err, &misfit):
		return syntaxError(name, data, &jsonscan.Error{Offset: at + int(misfit.Offset), Msg: fmt.Sprintf("not the output of %s: %s in %s", page, misfit.Value, misfit.Field)})
	case err != nil:
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// certBytes returns the bytes of a DataSource, nil if it has none here.
func certBytes(b []byte, at int) []byte {
	if at < 0 || at >= len(b) || b[at] != '{' {
		return nil
	}
	if s := jsonscan.Text(b, jsonscan.Path(b, at, "inline_bytes")); s != "" {
		out, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return nil
		}
		return out
	}
	if s := jsonscan.Text(b, jsonscan.Path(b, at, "inline_string")); s != "" {
		return []byte(s)
	}
	return nil
}
