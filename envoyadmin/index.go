package envoyadmin

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/jsonscan"
)

// maxInflated bounds what a compressed dump may inflate to.
const maxInflated = 4 << 30

// checkAll is the size up to which a dump is checked as JSON from end to end.
// What is larger is checked where it is read: the brackets and strings of all
// of it, the rest of what a call touches.
const checkAll = 2 << 20

// resourceState tells the versions of one resource apart. Only an active one
// serves.
type resourceState string

const (
	active   resourceState = "active"
	warming  resourceState = "warming"
	draining resourceState = "draining"
)

// entry is one resource of the dump, not decoded: its name and where it stands.
type entry struct {
	name     string
	from, to int // the resource's JSON in data
	outer    int // the object that holds it with its version; -1 for none
	section  int // index in configs
	list     string
	item     int // index in list
	field    string
	state    resourceState
	static   bool
}

// path is the place of the entry inside the dump, as jq writes it.
func (e *entry) path() string {
	if e == nil {
		return ""
	}
	var b strings.Builder
	if e.section >= 0 {
		b.WriteString("configs[" + strconv.Itoa(e.section) + "]")
	}
	if e.list != "" {
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(e.list)
		if e.item >= 0 {
			b.WriteString("[" + strconv.Itoa(e.item) + "]")
		}
	}
	if e.field != "" {
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(e.field)
	}
	return b.String()
}

// listenerEntry is a listener with the little that choosing it needs.
type listenerEntry struct {
	entry
	addrs       []listenAddr
	internal    string // the name of an internal listener's address
	bound       bool   // bind_to_port is not false
	originalDst bool   // use_original_dst
	direction   string // traffic_direction
	errorState  int    // the error_state of its update, -1 for none

	once   sync.Once
	parsed *listener
}

// section is what the dump says of one kind of resource at all.
type sections struct {
	bootstrap, clusters, endpoints, listeners, routes, scoped, secrets, ecds bool
}

// indexes holds every resource by name.
type indexes struct {
	has       sections
	bare      bool // no config_dump but a piece of configuration
	bootstrap int  // the bootstrap object, -1 for none
	listeners []*listenerEntry
	clusters  []entry
	byCluster map[string]int32 // the active cluster of a name
	notActive map[string]int32 // a warming cluster of a name that has no active one
	endpoints map[string]entry
	routes    []*routeEntry
	byRoute   map[string]*routeEntry
	scoped    []entry
	secrets   []SecretInfo
	ecds      map[string]entry
	errors    []updateFailure // rejected updates, of any kind
	blank     []string        // listeners the dump names and does not show
}

type updateFailure struct {
	kind, name string
	at         int
	e          entry
}

// Read indexes a config_dump: JSON of Envoy's admin API or gzip of it, whole or
// trimmed, v2 or v3; or a bootstrap with static_resources. data is kept, not
// copied, and must not change. name goes into errors. Input that is truncated,
// not JSON or no config_dump gives a *[SyntaxError].
func Read(name string, data []byte) (*Dump, error) {
	data, err := inflate(name, data)
	if err != nil {
		return nil, err
	}
	d := &Dump{name: name, data: data}
	d.bootstrap = -1
	if err := d.index(); err != nil {
		var e *jsonscan.Error
		if errors.As(err, &e) {
			return nil, syntaxError(name, data, exact(data, e))
		}
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return d, nil
}

// inflate returns data, unzipped if it is gzip. What does not unzip is an error
// with the offset in the compressed bytes at which it stops.
func inflate(name string, data []byte) ([]byte, error) {
	if len(data) < 2 || data[0] != 0x1f || data[1] != 0x8b {
		return data, nil
	}
	in := bytes.NewReader(data)
	stop := func(msg string) error {
		at := len(data) - in.Len()
		return &SyntaxError{File: name, Offset: int64(at), Line: 1, Column: at + 1, Msg: "gzip: " + msg}
	}
	failed := func(err error) error {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return stop("unexpected end")
		}
		return stop(strings.TrimPrefix(err.Error(), "gzip: "))
	}
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, failed(err)
	}
	out, err := io.ReadAll(io.LimitReader(z, maxInflated+1))
	if err != nil {
		return nil, failed(err)
	}
	if len(out) > maxInflated {
		return nil, stop(fmt.Sprintf("inflates to more than %d bytes", int64(maxInflated)))
	}
	return out, nil
}

// exact finds the first byte at which data stops being JSON; the scanner that
// skips may have found only a place behind it.
func exact(data []byte, e *jsonscan.Error) *jsonscan.Error {
	if strings.HasSuffix(e.Msg, notADump) {
		return e
	}
	var first *jsonscan.Error
	if _, err := jsonscan.Check(data, jsonscan.Space(data, bom(data))); errors.As(err, &first) && first.Offset < e.Offset {
		return first
	}
	return e
}

// bom is the length of the byte order mark data begins with.
func bom(data []byte) int {
	if bytes.HasPrefix(data, []byte("\xef\xbb\xbf")) {
		return 3
	}
	return 0
}

func syntaxError(name string, data []byte, e *jsonscan.Error) *SyntaxError {
	at := min(max(e.Offset, 0), len(data))
	line := bytes.Count(data[:at], []byte("\n")) + 1
	return &SyntaxError{File: name, Offset: int64(at), Line: line, Column: at - bytes.LastIndexByte(data[:at], '\n'), Msg: e.Msg}
}

const notADump = "not a config_dump: want an object with configs"

func (d *Dump) index() error {
	b := d.data
	i := jsonscan.Space(b, bom(b))
	if i >= len(b) {
		return &jsonscan.Error{Offset: len(b), Msg: "empty: " + notADump}
	}
	if b[i] != '{' {
		return &jsonscan.Error{Offset: i, Msg: notADump}
	}
	if len(b) <= checkAll {
		if _, err := jsonscan.Check(b, i); err != nil {
			return err
		}
	}
	found := false
	n := 0
	end, err := jsonscan.Object(b, i, func(k []byte, at int) (int, error) {
		switch string(k) {
		case "configs":
			if at >= len(b) {
				return 0, nil
			}
			switch b[at] {
			case '[':
				found = true
				return jsonscan.Array(b, at, func(j, at int) (int, error) {
					n = j + 1
					return d.section(j, at)
				})
			case '{': // Envoy 1.6: an object of sections
				return jsonscan.Object(b, at, func(_ []byte, at int) (int, error) {
					found = true
					n++
					return d.section(n-1, at)
				})
			}
		case "static_resources", "staticResources", "listener", "listeners", "route_config", "clusters":
			if at < len(b) && (b[at] == '{' || b[at] == '[') {
				end, err := d.bareResources(string(k), at)
				if err != nil {
					return end, err
				}
				found = found || d.bare
			}
		}
		return 0, nil
	})
	if err != nil {
		return err
	}
	if !found {
		return &jsonscan.Error{Offset: i, Msg: notADump}
	}
	if end = jsonscan.Space(b, end); end != len(b) {
		return &jsonscan.Error{Offset: end, Msg: "more behind the config_dump"}
	}
	d.finish()
	return nil
}

// part is one field of a section.
type part struct {
	key string
	at  int
}

// section indexes one element of configs. The type comes first in what Envoy
// prints; where it does not, the fields before it are read once it is known.
func (d *Dump) section(n, at int) (int, error) {
	if at < len(d.data) && d.data[at] != '{' {
		return 0, nil
	}
	var before []part
	var s sectionReader
	end, err := jsonscan.Object(d.data, at, func(k []byte, at int) (int, error) {
		switch {
		case string(k) == "@type":
			s = d.sectionType(n, jsonscan.Text(d.data, at))
			return 0, nil
		case s.read == nil:
			before = append(before, part{string(k), at})
			return 0, nil
		default:
			return s.read(string(k), at)
		}
	})
	if err != nil {
		return end, err
	}
	if s.read == nil {
		return end, nil
	}
	for _, p := range before {
		if _, err := s.read(p.key, p.at); err != nil {
			return end, err
		}
	}
	if s.item != nil {
		if _, err := s.item(at); err != nil {
			return end, err
		}
	}
	return end, nil
}

// sectionReader reads the fields of one kind of section. item is set where the
// section is itself one resource, as with ?resource=dynamic_listeners.
type sectionReader struct {
	read func(key string, at int) (int, error)
	item func(at int) (int, error)
}

func (d *Dump) sectionType(n int, typ string) sectionReader {
	skip := func(string, int) (int, error) { return 0, nil }
	typ = typ[strings.LastIndexByte(typ, '/')+1:]
	kind, ok := strings.CutPrefix(typ, "envoy.admin.v3.")
	if !ok {
		if kind, ok = strings.CutPrefix(typ, "envoy.admin.v2alpha."); !ok {
			return sectionReader{read: skip}
		}
	}
	kind, item, single := strings.Cut(kind, ".")
	if kind == "BootstrapConfigDump" {
		d.has.bootstrap = true
		return sectionReader{read: func(key string, at int) (int, error) {
			if key == "bootstrap" && at < len(d.data) && d.data[at] == '{' {
				d.bootstrap = at
			}
			return 0, nil
		}}
	}
	lists, ok := listsOf[kind]
	if !ok {
		return sectionReader{read: skip}
	}
	d.has.set(kind)
	if single {
		for _, l := range lists {
			if l.item == item {
				return sectionReader{read: skip, item: func(at int) (int, error) {
					return d.item(l, entry{section: n, item: -1, outer: at, static: l.static, state: l.state}, at)
				}}
			}
		}
		return sectionReader{read: skip}
	}
	return sectionReader{read: func(key string, at int) (int, error) {
		for _, l := range lists {
			if key != l.key && key != l.camel || at >= len(d.data) || d.data[at] != '[' {
				continue
			}
			return jsonscan.Array(d.data, at, func(j, at int) (int, error) {
				return d.item(l, entry{section: n, list: key, item: j, outer: at, static: l.static, state: l.state}, at)
			})
		}
		return 0, nil
	}}
}

func (s *sections) set(kind string) {
	switch kind {
	case "ListenersConfigDump":
		s.listeners = true
	case "ClustersConfigDump":
		s.clusters = true
	case "RoutesConfigDump":
		s.routes = true
	case "EndpointsConfigDump":
		s.endpoints = true
	case "ScopedRoutesConfigDump":
		s.scoped = true
	case "SecretsConfigDump":
		s.secrets = true
	case "EcdsConfigDump":
		s.ecds = true
	}
}

// listKind is one list of a section.
type listKind struct {
	key, camel string
	item       string // the message name of an item, with ?resource=
	static     bool
	state      resourceState
	add        func(d *Dump, e entry, at int) (int, error) // returns the index behind the item, or 0
}

var listsOf = map[string][]listKind{
	"ListenersConfigDump": {
		{"static_listeners", "staticListeners", "StaticListener", true, active, (*Dump).addListener},
		{"dynamic_listeners", "dynamicListeners", "DynamicListener", false, active, (*Dump).addDynamicListener},
		{"dynamic_active_listeners", "dynamicActiveListeners", "", false, active, (*Dump).addListener},
		{"dynamic_warming_listeners", "dynamicWarmingListeners", "", false, warming, (*Dump).addListener},
		{"dynamic_draining_listeners", "dynamicDrainingListeners", "", false, draining, (*Dump).addListener},
	},
	"ClustersConfigDump": {
		{"static_clusters", "staticClusters", "StaticCluster", true, active, (*Dump).addCluster},
		{"dynamic_active_clusters", "dynamicActiveClusters", "DynamicCluster", false, active, (*Dump).addCluster},
		{"dynamic_warming_clusters", "dynamicWarmingClusters", "", false, warming, (*Dump).addCluster},
	},
	"RoutesConfigDump": {
		{"static_route_configs", "staticRouteConfigs", "StaticRouteConfig", true, active, (*Dump).addRoute},
		{"dynamic_route_configs", "dynamicRouteConfigs", "DynamicRouteConfig", false, active, (*Dump).addRoute},
	},
	"ScopedRoutesConfigDump": {
		{"inline_scoped_route_configs", "inlineScopedRouteConfigs", "InlineScopedRouteConfigs", true, active, (*Dump).addScoped},
		{"dynamic_scoped_route_configs", "dynamicScopedRouteConfigs", "DynamicScopedRouteConfigs", false, active, (*Dump).addScoped},
	},
	"EndpointsConfigDump": {
		{"static_endpoint_configs", "staticEndpointConfigs", "StaticEndpointConfig", true, active, (*Dump).addEndpoints},
		{"dynamic_endpoint_configs", "dynamicEndpointConfigs", "DynamicEndpointConfig", false, active, (*Dump).addEndpoints},
	},
	"SecretsConfigDump": {
		{"static_secrets", "staticSecrets", "StaticSecret", true, active, (*Dump).addSecret},
		{"dynamic_active_secrets", "dynamicActiveSecrets", "DynamicSecret", false, active, (*Dump).addSecret},
		{"dynamic_warming_secrets", "dynamicWarmingSecrets", "", false, warming, (*Dump).addSecret},
	},
	"EcdsConfigDump": {
		{"ecds_filters", "ecdsFilters", "EcdsFilterConfig", false, active, (*Dump).addECDS},
	},
}

func (d *Dump) item(l listKind, e entry, at int) (int, error) {
	if at >= len(d.data) || d.data[at] != '{' {
		return 0, nil
	}
	return l.add(d, e, at)
}

// wrapper is what stands around a resource: where the resource begins and ends,
// -1 for none, and a rejected update beside it.
type wrapper struct {
	from, to, bad, end int
}

// inner finds the resource in its wrapper.
func (d *Dump) inner(at int, field, camel string) (w wrapper, err error) {
	w = wrapper{from: -1, bad: -1}
	w.end, err = jsonscan.Object(d.data, at, func(k []byte, at int) (int, error) {
		switch string(k) {
		case field, camel:
			end, err := jsonscan.Value(d.data, at)
			if err == nil && d.data[at] == '{' {
				w.from, w.to = at, end
			}
			return end, err
		case "error_state", "errorState":
			w.bad = at
		}
		return 0, nil
	})
	return w, err
}

// named fills in where the resource stands and the name it has in field.
func (d *Dump) named(e *entry, from, to int, path, field, camel string) error {
	e.from, e.to, e.field = from, to, path
	n, err := jsonscan.Field(d.data, from, field, camel)
	if err != nil {
		return err
	}
	e.name = jsonscan.Text(d.data, n)
	return nil
}

// rejects notes a rejected update beside a resource. Its name is that of the
// resource that still serves, else of the item, else of what was rejected.
func (d *Dump) rejects(kind, field string, w wrapper, e entry, item int) {
	if w.bad < 0 {
		return
	}
	name := e.name
	e.field = ""
	for _, path := range [][]string{{"name"}, {"error_state", "failed_configuration", field}} {
		if name == "" {
			name = jsonscan.Text(d.data, jsonscan.Path(d.data, item, path...))
		}
	}
	d.errors = append(d.errors, updateFailure{kind, name, w.bad, e})
}

func (d *Dump) addCluster(e entry, at int) (int, error) {
	w, err := d.inner(at, "cluster", "cluster")
	if err != nil {
		return 0, err
	}
	if w.from >= 0 {
		if err := d.named(&e, w.from, w.to, "cluster", "name", "name"); err != nil {
			return 0, err
		}
	}
	d.rejects("cluster", "name", w, e, at)
	if w.from < 0 {
		return w.end, nil
	}
	if e.name != "" {
		d.clusters = append(d.clusters, e)
	}
	return w.end, nil
}

func (d *Dump) addEndpoints(e entry, at int) (int, error) {
	w, err := d.inner(at, "endpoint_config", "endpointConfig")
	if err != nil {
		return 0, err
	}
	if w.from >= 0 {
		if err := d.named(&e, w.from, w.to, "endpoint_config", "cluster_name", "clusterName"); err != nil {
			return 0, err
		}
	}
	d.rejects("endpoints", "cluster_name", w, e, at)
	if w.from < 0 {
		return w.end, nil
	}
	if d.endpoints == nil {
		d.endpoints = map[string]entry{}
	}
	if _, ok := d.endpoints[e.name]; !ok || !e.static {
		d.endpoints[e.name] = e
	}
	return w.end, nil
}

func (d *Dump) addRoute(e entry, at int) (int, error) {
	w, err := d.inner(at, "route_config", "routeConfig")
	if err != nil {
		return 0, err
	}
	if w.from >= 0 {
		if err := d.named(&e, w.from, w.to, "route_config", "name", "name"); err != nil {
			return 0, err
		}
	}
	d.rejects("route_config", "name", w, e, at)
	if w.from < 0 {
		return w.end, nil
	}
	d.routes = append(d.routes, &routeEntry{entry: e})
	return w.end, nil
}

func (d *Dump) addScoped(e entry, at int) (int, error) {
	w, err := d.inner(at, "", "")
	if err != nil {
		return 0, err
	}
	if err := d.named(&e, at, w.end, "", "name", "name"); err != nil {
		return 0, err
	}
	d.rejects("scoped_routes", "name", w, e, at)
	d.scoped = append(d.scoped, e)
	return w.end, nil
}

func (d *Dump) addSecret(e entry, at int) (int, error) {
	info := SecretInfo{State: string(e.state), Source: e.path()}
	end, err := jsonscan.Object(d.data, at, func(k []byte, at int) (int, error) {
		switch string(k) {
		case "name":
			info.Name = jsonscan.Text(d.data, at)
		case "last_updated", "lastUpdated":
			info.LastUpdated = jsonscan.Text(d.data, at)
		case "version_info", "versionInfo":
			info.Version = jsonscan.Text(d.data, at)
		case "error_state", "errorState":
			info.Error = jsonscan.Text(d.data, jsonscan.Path(d.data, at, "details"))
		case "secret":
			// Only the public chain is looked at.
			if b := jsonscan.Path(d.data, at, "tls_certificate", "certificate_chain"); b >= 0 {
				info.chain = certBytes(d.data, b)
			}
			if info.Name == "" {
				info.Name = jsonscan.Text(d.data, jsonscan.Path(d.data, at, "name"))
			}
		}
		return 0, nil
	})
	if err == nil {
		d.secrets = append(d.secrets, info)
	}
	return end, err
}

func (d *Dump) addECDS(e entry, at int) (int, error) {
	w, err := d.inner(at, "ecds_filter", "ecdsFilter")
	if err != nil {
		return w.end, err
	}
	if w.from >= 0 {
		if err := d.named(&e, w.from, w.to, "ecds_filter", "name", "name"); err != nil {
			return 0, err
		}
	}
	d.rejects("extension", "name", w, e, at)
	if w.from < 0 {
		return w.end, nil
	}
	if d.ecds == nil {
		d.ecds = map[string]entry{}
	}
	d.ecds[e.name] = e
	return w.end, nil
}

func (d *Dump) addListener(e entry, at int) (int, error) {
	w, err := d.inner(at, "listener", "listener")
	if err != nil {
		return w.end, err
	}
	if w.from < 0 {
		d.blank = append(d.blank, e.path())
		return w.end, nil
	}
	return w.end, d.listenerAt(e, w.from, w.to, "listener", w.bad)
}

// addDynamicListener reads an item with its active, warming and draining state.
func (d *Dump) addDynamicListener(e entry, at int) (int, error) {
	name, bad, found := "", -1, false
	type st struct {
		at    int
		key   string
		state resourceState
		w     wrapper
	}
	var states []st
	end, err := jsonscan.Object(d.data, at, func(k []byte, at int) (int, error) {
		var state resourceState
		switch string(k) {
		case "name":
			name = jsonscan.Text(d.data, at)
		case "error_state", "errorState":
			bad = at
		case "active_state", "activeState":
			state = active
		case "warming_state", "warmingState":
			state = warming
		case "draining_state", "drainingState":
			state = draining
		}
		if state == "" || at >= len(d.data) || d.data[at] != '{' {
			return 0, nil
		}
		w, err := d.inner(at, "listener", "listener")
		states = append(states, st{at, string(k), state, w})
		return w.end, err
	})
	if err != nil {
		return end, err
	}
	for _, s := range states {
		if s.w.from < 0 {
			continue
		}
		found = true
		e := e
		e.outer, e.state = s.at, s.state
		if err := d.listenerAt(e, s.w.from, s.w.to, s.key+".listener", bad); err != nil {
			return end, err
		}
		if l := d.listeners[len(d.listeners)-1]; l.name == "" {
			l.name = name
		}
	}
	switch {
	case bad >= 0:
		e.name = name
		d.errors = append(d.errors, updateFailure{"listener", name, bad, e})
	case !found:
		d.blank = append(d.blank, cmp.Or(name, e.path()))
	}
	return end, nil
}

func (d *Dump) listenerAt(e entry, from, to int, path string, bad int) error {
	l := &listenerEntry{entry: e, bound: true, errorState: bad}
	l.from, l.to, l.field = from, to, path
	b, internal := d.data, false
	_, err := jsonscan.Object(b, from, func(k []byte, at int) (int, error) {
		if at >= len(b) {
			return 0, nil
		}
		switch string(k) {
		case "name":
			l.name = jsonscan.Text(b, at)
		case "address":
			l.address(b, at)
		case "additional_addresses", "additionalAddresses":
			if b[at] == '[' {
				return jsonscan.Array(b, at, func(_, at int) (int, error) {
					if a := jsonscan.Path(b, at, "address"); a >= 0 {
						l.address(b, a)
					}
					return 0, nil
				})
			}
		case "bind_to_port", "bindToPort":
			l.bound = l.bound && b[at] != 'f'
		case "deprecated_v1", "deprecatedV1":
			if v := jsonscan.Path(b, at, "bind_to_port"); v >= 0 && b[v] == 'f' {
				l.bound = false
			}
		case "use_original_dst", "useOriginalDst", "hidden_envoy_deprecated_use_original_dst":
			l.originalDst = b[at] == 't'
		case "traffic_direction", "trafficDirection":
			l.direction = jsonscan.Text(b, at)
		case "internal_listener", "internalListener":
			internal = true
		}
		return 0, nil
	})
	if internal && l.internal == "" {
		l.internal = l.name
	}
	if err == nil {
		d.listeners = append(d.listeners, l)
	}
	return err
}

// bareResources takes a piece of configuration for a dump.
func (d *Dump) bareResources(key string, at int) (int, error) {
	b := d.data
	if d.has != (sections{}) {
		return at, nil
	}
	each := func(list string, at int, add func(e entry, at int) error) error {
		e := entry{section: -1, list: list, item: -1, outer: -1, static: true, state: active}
		if b[at] == '{' {
			return add(e, at)
		}
		_, err := jsonscan.Array(b, at, func(i, at int) (int, error) {
			e.item = i
			if at < len(b) && b[at] == '{' {
				return 0, add(e, at)
			}
			return 0, nil
		})
		return err
	}
	listeners := func(list string) func(e entry, at int) error {
		return func(e entry, at int) error {
			end, err := jsonscan.Value(b, at)
			if err != nil {
				return err
			}
			return d.listenerAt(e, at, end, "", -1)
		}
	}
	clusters := func(e entry, at int) error {
		end, err := jsonscan.Value(b, at)
		if err != nil {
			return err
		}
		if err := d.named(&e, at, end, "", "name", "name"); err != nil {
			return err
		}
		d.clusters = append(d.clusters, e)
		return nil
	}
	d.bare = true
	switch key {
	case "listener", "listeners":
		return at, each(key, at, listeners(key))
	case "clusters":
		return at, each(key, at, clusters)
	case "route_config":
		return at, each(key, at, func(e entry, at int) error {
			end, err := jsonscan.Value(b, at)
			if err != nil {
				return err
			}
			if err := d.named(&e, at, end, "", "name", "name"); err != nil {
				return err
			}
			d.routes = append(d.routes, &routeEntry{entry: e})
			return nil
		})
	}
	_, err := jsonscan.Object(b, at, func(k []byte, at int) (int, error) {
		if at >= len(b) || b[at] != '[' {
			return 0, nil
		}
		switch string(k) {
		case "listeners":
			return 0, each(key+".listeners", at, listeners(key))
		case "clusters":
			return 0, each(key+".clusters", at, clusters)
		}
		return 0, nil
	})
	return at, err
}

// finish builds the maps once all sections are read. Of two active resources
// with one name the later stands: Envoy has one, the dump was joined by hand.
func (d *Dump) finish() {
	if d.bare && d.has == (sections{}) {
		d.has.listeners = len(d.listeners) > 0
		d.has.clusters = len(d.clusters) > 0
		d.has.routes = len(d.routes) > 0
	}
	d.byCluster = make(map[string]int32, len(d.clusters))
	for i := range d.clusters {
		c := &d.clusters[i]
		if c.state == active {
			d.byCluster[c.name] = int32(i)
			continue
		}
		if d.notActive == nil {
			d.notActive = map[string]int32{}
		}
		d.notActive[c.name] = int32(i)
	}
	d.byRoute = make(map[string]*routeEntry, len(d.routes))
	for _, r := range d.routes {
		if have, ok := d.byRoute[r.name]; !ok || have.static {
			d.byRoute[r.name] = r
		}
	}
}
