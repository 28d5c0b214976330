package live

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/hoptrail/hoptrail/k8s"
	"github.com/hoptrail/hoptrail/trace"
)

// pageSize is the number of objects asked for at a time, as kubectl's.
const pageSize = 500

// apiError is an answer of the API server other than success.
type apiError struct {
	code                      int
	message, reason           string
	group, resource           string
	verb, namespace, name     string
	retryAfter                time.Duration
	noSuchResource, badSelect bool
}

func (e *apiError) Error() string {
	if e.message != "" {
		return e.message
	}
	return fmt.Sprintf("the API server answered %d %s", e.code, http.StatusText(e.code))
}

// sentence is what was refused, in the server's words where it gave any.
func (e *apiError) sentence() string {
	if e.message != "" {
		return e.message
	}
	return e.verb + " " + e.resource + " is not allowed"
}

// grant is the command that would give the right that was missing.
func (e *apiError) grant(user string) string {
	if user == "" {
		user = "USER"
	}
	resource := e.resource
	if e.group != "" {
		plural, sub, ok := strings.Cut(resource, "/")
		resource = plural + "." + e.group
		if ok {
			resource += "/" + sub
		}
	}
	name := "hoptrail-" + strings.ReplaceAll(e.resource, "/", "-")
	kind, ns := "clusterrole", ""
	if e.namespace != "" {
		kind, ns = "role", " -n "+e.namespace
	}
	return fmt.Sprintf("kubectl create%s %s %s --verb=%s --resource=%s && kubectl create%s %sbinding %s --%s=%s --user=%s",
		ns, kind, name, e.verb, resource, ns, kind, name, kind, name, user)
}

// request names one call of the API and the right it needs.
type request struct {
	path      string
	query     url.Values
	accept    string
	verb      string
	group     string
	resource  string // with the subresource: pods/log
	namespace string
	name      string
}

func (s *Source) url(path string, query url.Values) *url.URL {
	u := *s.base
	u.Path = strings.TrimSuffix(u.Path, "/") + path
	u.RawQuery = query.Encode()
	return &u
}

// open sends a GET and returns the body of a successful answer. It waits and
// tries again where the server asks for that, within the time ctx leaves.
func (s *Source) open(ctx context.Context, r request) (io.ReadCloser, error) {
	for try := 0; ; try++ {
		if err := s.limiter.Wait(ctx); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, context.DeadlineExceeded // the wait alone would outlast it
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url(r.path, r.query).String(), nil)
		if err != nil {
			return nil, err
		}
		if r.accept != "" {
			req.Header.Set("Accept", r.accept)
		}
		s.requests.Add(1)
		resp, err := s.client.Do(req)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.reached = true
		s.mu.Unlock()
		if resp.StatusCode == http.StatusOK {
			return &countingBody{resp.Body, s}, nil
		}
		apiErr := s.readError(resp, r)
		if apiErr.code == http.StatusUnauthorized && try == 0 && s.hasRead() {
			continue // the token ran out: client-go has another for the next request
		}
		busy := apiErr.code == http.StatusTooManyRequests || apiErr.code == http.StatusServiceUnavailable
		if !busy || try == 3 {
			return nil, apiErr
		}
		select {
		case <-time.After(max(apiErr.retryAfter, 200*time.Millisecond<<try)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

type countingBody struct {
	io.ReadCloser
	s *Source
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.s.bytes.Add(int64(n))
	return n, err
}

func (s *Source) readError(resp *http.Response, r request) *apiError {
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	s.bytes.Add(int64(len(body)))
	e := newAPIError(resp.StatusCode, body, r)
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n >= 0 && n < 60 {
		e.retryAfter = time.Duration(n) * time.Second
	}
	return e
}

// newAPIError reads the Status object of an answer, which may be anything.
func newAPIError(code int, body []byte, r request) *apiError {
	e := &apiError{code: code, verb: r.verb, group: r.group, resource: r.resource, namespace: r.namespace, name: r.name}
	var status struct {
		Kind    string
		Message string
		Reason  string
		Details struct{ Name string }
	}
	if json.Unmarshal(body, &status) == nil && status.Kind == "Status" {
		e.message, e.reason = status.Message, status.Reason
		e.noSuchResource = code == http.StatusNotFound && status.Details.Name == ""
	} else {
		e.message = strings.TrimSpace(string(body[:min(len(body), 300)]))
		e.noSuchResource = code == http.StatusNotFound
	}
	e.badSelect = code == http.StatusBadRequest && strings.Contains(e.message, "field label")
	return e
}

// get reads a whole answer of at most limit bytes.
func (s *Source) get(ctx context.Context, r request, limit int64) ([]byte, error) {
	body, err := s.open(ctx, r)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return readAll(body, limit)
}

var errTooLarge = errors.New("answer is larger than the limit")

// readAll reads r to its end. More than limit bytes are an error.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	var b bytes.Buffer
	n, err := b.ReadFrom(io.LimitReader(r, limit+1))
	if err != nil {
		return b.Bytes(), err
	}
	if n > limit {
		return b.Bytes()[:limit], fmt.Errorf("%w of %d bytes", errTooLarge, limit)
	}
	return b.Bytes(), nil
}

// kind says where a resource is found in the API.
type resourceKind struct {
	group    string
	versions []string // the newest first
}

// resources are those the walk asks for, so that nothing need be discovered.
var resources = map[string]resourceKind{
	"configmaps": {"", []string{"v1"}}, "endpoints": {"", []string{"v1"}}, "namespaces": {"", []string{"v1"}},
	"nodes": {"", []string{"v1"}}, "pods": {"", []string{"v1"}}, "secrets": {"", []string{"v1"}},
	"services": {"", []string{"v1"}}, "events": {"", []string{"v1"}}, "serviceaccounts": {"", []string{"v1"}},
	"deployments.apps": {"apps", []string{"v1"}}, "daemonsets.apps": {"apps", []string{"v1"}},
	"replicasets.apps": {"apps", []string{"v1"}}, "statefulsets.apps": {"apps", []string{"v1"}},
	"endpointslices.discovery.k8s.io":   {"discovery.k8s.io", []string{"v1"}},
	"networkpolicies.networking.k8s.io": {"networking.k8s.io", []string{"v1"}},
	"ingresses.networking.k8s.io":       {"networking.k8s.io", []string{"v1"}},
}

func init() {
	for group, known := range map[string]struct {
		versions []string
		plurals  string
	}{
		"networking.istio.io":       {[]string{"v1", "v1beta1", "v1alpha3"}, "gateways virtualservices destinationrules serviceentries sidecars workloadentries workloadgroups"},
		"security.istio.io":         {[]string{"v1", "v1beta1"}, "authorizationpolicies peerauthentications requestauthentications"},
		"telemetry.istio.io":        {[]string{"v1", "v1alpha1"}, "telemetries"},
		"extensions.istio.io":       {[]string{"v1alpha1"}, "wasmplugins"},
		"gateway.networking.k8s.io": {[]string{"v1", "v1beta1"}, "gateways httproutes grpcroutes gatewayclasses"},
	} {
		for plural := range strings.FieldsSeq(known.plurals) {
			resources[plural+"."+group] = resourceKind{group, known.versions}
		}
	}
	resources["envoyfilters.networking.istio.io"] = resourceKind{"networking.istio.io", []string{"v1alpha3"}}
	resources["proxyconfigs.networking.istio.io"] = resourceKind{"networking.istio.io", []string{"v1beta1"}}
	resources["referencegrants.gateway.networking.k8s.io"] = resourceKind{"gateway.networking.k8s.io", []string{"v1beta1"}}
	resources["tcproutes.gateway.networking.k8s.io"] = resourceKind{"gateway.networking.k8s.io", []string{"v1alpha2"}}
	resources["tlsroutes.gateway.networking.k8s.io"] = resourceKind{"gateway.networking.k8s.io", []string{"v1", "v1alpha3", "v1alpha2"}}
}

func selectorKey(sel trace.Selector) string {
	return sel.Namespace + "\x00" + sel.Name + "\x00" + sel.Labels + "\x00" + sel.Fields
}

// cluster reads one list of the API, narrowed as the query allows.
func (s *Source) cluster(ctx context.Context, q trace.Query) (trace.Observation, error) {
	if one := (trace.Selector{Namespace: q.Select.Namespace, Name: q.Select.Name}); q.File == "pods" && q.Select == one && one.Namespace != "" && one.Name != "" {
		s.mu.Lock()
		p := s.pods[one.Namespace+"/"+one.Name]
		s.mu.Unlock()
		if p != nil { // it came with a list
			return trace.Observation{Data: joinItems([]item{{p.raw}}), Partial: true}, nil
		}
	}
	plural, group, _ := strings.Cut(q.File, ".")
	kind, ok := resources[q.File]
	if !ok {
		if plural == "" || strings.ContainsAny(q.File, "/?#% ") {
			return trace.Observation{}, fmt.Errorf("live: %q names no resource", q.File)
		}
		v, err := s.discover(ctx, group)
		if err != nil {
			return trace.Observation{}, err
		}
		if v == "" {
			return trace.Observation{Data: joinItems(nil)}, nil
		}
		kind = resourceKind{group, []string{v}}
	}
	versions := kind.versions
	s.mu.Lock()
	if v := s.versions[q.File]; v != "" {
		versions = []string{v}
	}
	s.mu.Unlock()
	var items []item
	for i, version := range versions {
		var err error
		items, err = s.list(ctx, kind.group, version, plural, q.Select)
		var api *apiError
		if errors.As(err, &api) && api.code == http.StatusNotFound {
			// No such object, or no such resource in any version: either way
			// there is nothing of it in this cluster.
			if api.noSuchResource && i+1 < len(versions) {
				continue
			}
			items = nil
		} else if err != nil {
			return trace.Observation{}, err
		} else {
			s.mu.Lock()
			s.versions[q.File] = version
			s.mu.Unlock()
		}
		break
	}
	s.mu.Lock()
	s.read++
	if q.File == "pods" {
		for _, it := range items {
			if p, err := parsePod(it.data); err == nil {
				s.pods[p.Metadata.Namespace+"/"+p.Metadata.Name] = p
			}
		}
	}
	s.mu.Unlock()
	return trace.Observation{Data: joinItems(items), Partial: q.Select != (trace.Selector{})}, nil
}

// list reads the objects of one resource and version that sel describes.
func (s *Source) list(ctx context.Context, group, version, plural string, sel trace.Selector) ([]item, error) {
	path := "/api/" + version
	if group != "" {
		path = "/apis/" + group + "/" + version
	}
	r := request{verb: "list", group: group, resource: plural, namespace: sel.Namespace, query: url.Values{}}
	if sel.Namespace != "" {
		path += "/namespaces/" + url.PathEscape(sel.Namespace)
	}
	r.path = path + "/" + plural
	secret := group == "" && plural == "secrets"
	if clusterScoped[plural] && group == "" {
		r.namespace = ""
		r.path = "/api/" + version + "/" + plural
	}
	if sel.Name != "" && (sel.Namespace != "" || clusterScoped[plural]) && sel.Labels == "" && sel.Fields == "" {
		r.verb, r.name = "get", sel.Name
		r.path += "/" + url.PathEscape(sel.Name)
		data, err := s.get(ctx, r, s.opts.MaxBytes)
		if err != nil {
			return nil, err
		}
		it, err := cleanItem(data, "", "", secret)
		if err != nil {
			return nil, fmt.Errorf("the answer to GET %s is not an object: %w", r.path, err)
		}
		return []item{{it}}, nil
	}
	fields := sel.Fields
	if sel.Name != "" {
		if fields != "" {
			fields += ","
		}
		fields += "metadata.name=" + sel.Name
	}
	if fields != "" {
		r.query.Set("fieldSelector", fields)
	}
	if sel.Labels != "" {
		r.query.Set("labelSelector", sel.Labels)
	}
	var items []item
	budget := s.opts.MaxBytes
	// A selection by labels or fields is answered from the API server's watch
	// cache, as for every kubelet: without that it decodes all objects of the
	// kind to find a few. Lists as a whole come from etcd, in pages.
	next, whole := "", r.query.Has("fieldSelector") || r.query.Has("labelSelector")
	if whole {
		r.query.Set("resourceVersion", "0")
	}
	for {
		r := r
		r.query = maps.Clone(r.query)
		if !whole {
			r.query.Set("limit", strconv.Itoa(pageSize))
		}
		if next != "" {
			r.query.Set("continue", next)
		}
		data, err := s.get(ctx, r, budget)
		var api *apiError
		switch {
		case errors.As(err, &api) && api.badSelect && r.query.Has("fieldSelector"):
			// More than was selected may be answered: ask without it.
			sel.Fields, sel.Name = "", ""
			return s.list(ctx, group, version, plural, sel)
		case errors.As(err, &api) && api.code == http.StatusGone && next != "":
			// The pages' snapshot of etcd was compacted: once more, in one piece.
			items, next, whole = nil, "", true
			continue
		case err != nil:
			return nil, err
		}
		budget -= int64(len(data))
		page, cont, err := splitList(data, secret)
		if err != nil {
			return nil, fmt.Errorf("the answer to GET %s is not a list: %w", r.path, err)
		}
		items = append(items, page...)
		if cont == "" {
			return items, nil
		}
		next = cont
	}
}

var clusterScoped = map[string]bool{"nodes": true, "namespaces": true}

// discover finds the version in which a group serves a resource that is not in
// the table: Cilium's policies, say. All groups are asked for at once; the walk
// looks for the policies of every network plugin there is. "" means that the
// cluster has no such group.
func (s *Source) discover(ctx context.Context, group string) (string, error) {
	if group == "" {
		return "v1", nil
	}
	s.mu.Lock()
	g := s.groups
	if g == nil {
		g = &groupList{done: make(chan struct{})}
		s.groups = g
		reads := s.reads
		go func() { // on a clock of its own: others wait for it too
			ctx, cancel := context.WithTimeout(reads, s.opts.ReadTimeout)
			defer cancel()
			defer close(g.done)
			g.versions, g.err = s.readGroups(ctx)
		}()
	}
	s.mu.Unlock()
	select {
	case <-g.done:
		return g.versions[group], g.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// groupList is the answer to GET /apis.
type groupList struct {
	done     chan struct{}
	versions map[string]string // group -> preferred version
	err      error
}

func (s *Source) readGroups(ctx context.Context) (map[string]string, error) {
	data, err := s.get(ctx, request{path: "/apis", verb: "get", resource: "/apis"}, 4<<20)
	if err != nil {
		return nil, err
	}
	var list struct {
		Groups []struct {
			Name             string
			PreferredVersion struct{ Version string }
		}
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("the answer to GET /apis is not a list of groups: %w", err)
	}
	out := map[string]string{}
	for _, g := range list.Groups {
		out[g.Name] = g.PreferredVersion.Version
	}
	return out, nil
}

// podInfo is the little that reading from a Pod needs to know about it.
type podInfo struct {
	raw      []byte
	Metadata struct {
		Namespace, Name     string
		Labels, Annotations map[string]string
	}
	Spec struct {
		NodeName    string
		HostNetwork bool
		HostAliases []struct {
			IP        string `json:"ip"`
			Hostnames []string
		} `json:"hostAliases"`
		DNSPolicy string `json:"dnsPolicy"`
		DNSConfig struct {
			Nameservers, Searches []string
			Options               []struct{ Name, Value string }
		} `json:"dnsConfig"`
		Containers     []containerInfo
		InitContainers []containerInfo
	}
	Status struct {
		Phase                 string
		PodIP                 string
		ContainerStatuses     []containerStatus
		InitContainerStatuses []containerStatus
	}
}

type containerInfo struct {
	Name, Image   string
	RestartPolicy string
	Args          []string
}

type containerStatus struct {
	Name  string
	State struct {
		Running    *struct{}
		Terminated *struct{ ExitCode int }
		Waiting    *struct{ Reason, Message string }
	}
}

func parsePod(data []byte) (*podInfo, error) {
	p := &podInfo{raw: data}
	if err := json.Unmarshal(data, p); err != nil {
		return nil, err
	}
	return p, nil
}

// containers are the names of those that may run now: the containers and the
// init containers that are sidecars.
func (p *podInfo) containers() []string {
	var names []string
	for _, c := range p.Spec.Containers {
		names = append(names, c.Name)
	}
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy == "Always" {
			names = append(names, c.Name)
		}
	}
	return names
}

// proxy is what the Pod says of the Envoy in it.
func (p *podInfo) proxy() k8s.Proxy {
	var pod corev1.Pod
	if json.Unmarshal(p.raw, &pod) != nil {
		return k8s.Proxy{}
	}
	return (&k8s.Pod{Pod: &pod}).Proxy()
}

// proxyContainer is the container that runs Envoy: as the Pod tells, by its name,
// by the default the Pod declares, or the only one there is.
func (p *podInfo) proxyContainer() string {
	if c := p.proxy().Container; c != "" {
		return c
	}
	names := p.containers()
	for _, want := range []string{"istio-proxy", "envoy", "envoy-proxy", "proxy"} {
		if slices.Contains(names, want) {
			return want
		}
	}
	if d := p.Metadata.Annotations["kubectl.kubernetes.io/default-container"]; slices.Contains(names, d) {
		return d
	}
	if len(names) > 0 {
		return names[0]
	}
	return ""
}

// pod returns a Pod, from what was read already if possible.
func (s *Source) pod(ctx context.Context, ns, name string) (*podInfo, error) {
	s.mu.Lock()
	p := s.pods[ns+"/"+name]
	s.mu.Unlock()
	if p != nil {
		return p, nil
	}
	q := trace.Query{Area: trace.AreaCluster, File: "pods", Select: trace.Selector{Namespace: ns, Name: name}}
	if _, err := s.Observe(ctx, q); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p = s.pods[ns+"/"+name]; p == nil {
		return nil, fmt.Errorf("there is no Pod %s/%s in the cluster", ns, name)
	}
	return p, nil
}
