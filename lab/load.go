package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

func errorsJoin(errs ...error) error { return errors.Join(errs...) }

// api is the little of the Kubernetes API that loading a world takes.
type api struct {
	base  string
	token string
	http  *http.Client
}

func newAPI(base, token string) *api {
	return &api{base, token, &http.Client{
		Timeout: 30 * time.Second,
		// The API server made its certificate itself, just now, on 127.0.0.1.
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: 32, ForceAttemptHTTP2: true},
	}}
}

type statusError struct {
	code int
	body string
}

func (e *statusError) Error() string { return fmt.Sprintf("%d: %s", e.code, e.body) }

// do sends a request, again and again where the answer is that the API server or
// etcd behind it could not keep up. Whoever creates must reckon with an object
// that is there already.
func (a *api) do(ctx context.Context, method, path string, body any) ([]byte, error) {
	for end := time.Now().Add(patience); ; {
		data, err := a.try(ctx, method, path, body)
		if !passing(err) || time.Now().After(end) {
			return data, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// passing says whether an error says nothing about the request.
func passing(err error) bool {
	var se *statusError
	switch {
	case err == nil, errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, context.Canceled):
		return false
	case !errors.As(err, &se):
		return true // no answer came
	}
	switch se.code {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	case http.StatusInternalServerError:
		return strings.Contains(se.body, "etcdserver: ") || strings.Contains(se.body, "context deadline exceeded")
	}
	return false
}

// try sends a request once.
func (a *api) try(ctx context.Context, method, path string, body any) ([]byte, error) {
	var r io.Reader
	if body != nil {
		j, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(j)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, r)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = &statusError{resp.StatusCode, string(data[:min(len(data), 2000)])}
	}
	return data, err
}

// apiPath is where objects of a kind are made: /apis/GROUP/VERSION/.../PLURAL.
func apiPath(apiVersion, namespace, plural string) string {
	p := "/api/" + apiVersion
	if strings.Contains(apiVersion, "/") {
		p = "/apis/" + apiVersion
	}
	if namespace != "" {
		p += "/namespaces/" + url.PathEscape(namespace)
	}
	return p + "/" + plural
}

// create makes an object with its status. One that exists is replaced.
func (a *api) create(ctx context.Context, plural string, o object) error {
	meta, _ := o["metadata"].(object)
	if meta == nil {
		return fmt.Errorf("%s: object without metadata", plural)
	}
	o = maps.Clone(o)
	meta = maps.Clone(meta)
	for _, k := range []string{"resourceVersion", "uid", "creationTimestamp", "generation", "managedFields", "selfLink"} {
		delete(meta, k)
	}
	o["metadata"] = meta
	namespace, _ := meta["namespace"].(string)
	name, _ := meta["name"].(string)
	where := apiPath(str(o, "apiVersion"), namespace, plural)
	_, err := a.do(ctx, http.MethodPost, where, o)
	if conflict(err) {
		err = a.replace(ctx, where+"/"+name, "", func(have object) object {
			meta["resourceVersion"] = at(have, "metadata", "resourceVersion")
			return o
		})
	}
	if err != nil {
		return fmt.Errorf("%s %s/%s: %w", plural, namespace, name, err)
	}
	status, _ := o["status"].(object)
	if len(status) == 0 || !hasStatus[plural] {
		return nil
	}
	if err := a.replace(ctx, where+"/"+name, "/status", func(have object) object {
		have["status"] = status
		return have
	}); err != nil {
		return fmt.Errorf("status of %s %s/%s: %w", plural, namespace, name, err)
	}
	return nil
}

func conflict(err error) bool {
	var se *statusError
	return errors.As(err, &se) && se.code == http.StatusConflict
}

// replace changes an object, or a part of it, to what change makes of what it
// is: anew where somebody else was faster, which a request may be itself whose
// answer was lost.
func (a *api) replace(ctx context.Context, where, part string, change func(have object) object) error {
	for {
		data, err := a.do(ctx, http.MethodGet, where, nil)
		if err != nil {
			return err
		}
		var have object
		if err := json.Unmarshal(data, &have); err != nil {
			return err
		}
		if _, err = a.do(ctx, http.MethodPut, where+part, change(have)); !conflict(err) {
			return err
		}
	}
}

var hasStatus = map[string]bool{"nodes": true, "pods": true, "services": true, "deployments": true}

// customKinds are resources that a kube-apiserver knows only from a CRD.
var customKinds = map[string]string{
	"gateways.networking.istio.io": "Gateway", "virtualservices.networking.istio.io": "VirtualService",
	"destinationrules.networking.istio.io": "DestinationRule", "serviceentries.networking.istio.io": "ServiceEntry",
	"sidecars.networking.istio.io": "Sidecar", "workloadentries.networking.istio.io": "WorkloadEntry",
	"workloadgroups.networking.istio.io": "WorkloadGroup", "envoyfilters.networking.istio.io": "EnvoyFilter",
	"proxyconfigs.networking.istio.io":             "ProxyConfig",
	"authorizationpolicies.security.istio.io":      "AuthorizationPolicy",
	"peerauthentications.security.istio.io":        "PeerAuthentication",
	"requestauthentications.security.istio.io":     "RequestAuthentication",
	"telemetries.telemetry.istio.io":               "Telemetry",
	"wasmplugins.extensions.istio.io":              "WasmPlugin",
	"gateways.gateway.networking.k8s.io":           "Gateway",
	"httproutes.gateway.networking.k8s.io":         "HTTPRoute",
	"grpcroutes.gateway.networking.k8s.io":         "GRPCRoute",
	"referencegrants.gateway.networking.k8s.io":    "ReferenceGrant",
	"gatewayclasses.gateway.networking.k8s.io":     "GatewayClass",
	"backendtlspolicies.gateway.networking.k8s.io": "BackendTLSPolicy",
}

// crdVersions are the versions a group is served in; the first is the one that
// is stored.
func crdVersions(resource string) []string {
	switch _, group, _ := strings.Cut(resource, "."); {
	case resource == "envoyfilters.networking.istio.io":
		return []string{"v1alpha3"}
	case resource == "proxyconfigs.networking.istio.io" || resource == "referencegrants.gateway.networking.k8s.io":
		return []string{"v1beta1"}
	case group == "extensions.istio.io":
		return []string{"v1alpha1"}
	case group == "telemetry.istio.io":
		return []string{"v1", "v1alpha1"}
	case group == "networking.istio.io":
		return []string{"v1", "v1beta1", "v1alpha3"}
	default:
		return []string{"v1", "v1beta1"}
	}
}

// crd is the least a CRD can be: any object of the kind is taken.
func crd(resource, kind string) object {
	plural, group, _ := strings.Cut(resource, ".")
	var versions []object
	for i, v := range crdVersions(resource) {
		versions = append(versions, object{
			"name": v, "served": true, "storage": i == 0,
			"schema": object{"openAPIV3Schema": object{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
		})
	}
	scope := "Namespaced"
	if plural == "gatewayclasses" {
		scope = "Cluster"
	}
	o := object{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": object{"name": resource},
		"spec": object{
			"group": group, "scope": scope, "versions": versions,
			"names": object{"plural": plural, "singular": strings.ToLower(kind), "kind": kind, "listKind": kind + "List"},
		},
	}
	if strings.HasSuffix(group, ".k8s.io") {
		o["metadata"].(object)["annotations"] = object{"api-approved.kubernetes.io": "unapproved, for a lab"}
	}
	return o
}

// load puts the world's objects into the API server.
func (l *Lab) load(ctx context.Context) error {
	for resource, kind := range customKinds {
		if err := l.admin.create(ctx, "customresourcedefinitions", crd(resource, kind)); err != nil {
			return err
		}
	}
	for resource := range customKinds {
		plural, group, _ := strings.Cut(resource, ".")
		where := apiPath(group+"/"+crdVersions(resource)[0], "", plural)
		for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
			if _, err := l.admin.do(ctx, http.MethodGet, where+"?limit=1", nil); err == nil {
				break
			} else if ctx.Err() != nil || time.Since(start) > patience {
				return fmt.Errorf("CRD %s is not served: %w", resource, err)
			}
		}
	}
	var files []string
	for name := range l.world {
		if dir, file := path.Split(name); dir == "cluster/" {
			files = append(files, strings.TrimSuffix(file, ".json"))
		}
	}
	slices.Sort(files)
	// What others are in, or are bound to, first.
	order := []string{"namespaces", "nodes", "services"}
	files = append(order, slices.DeleteFunc(files, func(f string) bool { return slices.Contains(order, f) })...)
	for _, file := range files {
		items, err := l.world.items(file)
		if err != nil {
			return err
		}
		plural, _, _ := strings.Cut(file, ".")
		if err := l.Create(ctx, plural, l.prepared(plural, items)); err != nil {
			return fmt.Errorf("load cluster/%s.json: %w", file, err)
		}
	}
	var extra []object
	for _, n := range l.nodes {
		extra = append(extra, kubeProxyPod(n))
	}
	return l.Create(ctx, "pods", extra)
}

// Create makes objects, with their status, eight at a time.
func (l *Lab) Create(ctx context.Context, plural string, items []object) error {
	work := make(chan object)
	errs := make(chan error, len(items))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for o := range work {
				errs <- l.admin.create(ctx, plural, o)
			}
		})
	}
	for _, o := range items {
		work <- o
	}
	close(work)
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// prepared changes what a world's object needs to live in the lab.
func (l *Lab) prepared(plural string, items []object) []object {
	var out []object
	for _, o := range items {
		switch plural {
		case "services":
			if str(o, "metadata", "namespace") == "default" && str(o, "metadata", "name") == "kubernetes" {
				continue // the API server's own
			}
		case "nodes":
			o = clone(o)
			if status, ok := o["status"].(object); ok {
				status["daemonEndpoints"] = object{"kubeletEndpoint": object{"Port": kubeletPort}}
				if status["images"] == nil { // a node has the image of its kube-proxy
					status["images"] = []object{{"names": []string{"kube-proxy:" + KubernetesVersion}, "sizeBytes": 1}}
				}
			}
		case "secrets":
			// Its values are not in a snapshot; any will do that is base64.
			o = clone(o)
			if data, ok := o["data"].(object); ok {
				for k := range data {
					data[k] = "UkVEQUNURUQ="
				}
			}
		}
		out = append(out, o)
	}
	return out
}

func clone(o object) object {
	j, _ := json.Marshal(o)
	var out object
	json.Unmarshal(j, &out)
	return out
}

// kubeProxyPod is the Pod that a node's kube-proxy would run in: on the host's
// network, with netfilter's tools.
func kubeProxyPod(n *node) object {
	name := kubeProxyName(n)
	return object{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": object{"namespace": "kube-system", "name": name, "labels": object{"k8s-app": "kube-proxy"}},
		"spec": object{
			"nodeName": n.name, "hostNetwork": true, "priorityClassName": "system-node-critical",
			"containers":  []object{{"name": "kube-proxy", "image": "kube-proxy:v1.35.4"}},
			"tolerations": []object{{"operator": "Exists"}},
		},
		"status": object{
			"phase": "Running", "hostIP": n.addr.String(), "podIP": n.addr.String(),
			"podIPs":     []object{{"ip": n.addr.String()}},
			"conditions": []object{{"type": "Ready", "status": "True"}, {"type": "ContainersReady", "status": "True"}, {"type": "Initialized", "status": "True"}, {"type": "PodScheduled", "status": "True"}},
			"containerStatuses": []object{{
				"name": "kube-proxy", "ready": true, "started": true, "restartCount": 0, "image": "kube-proxy:v1.35.4", "imageID": "",
				"state": object{"running": object{"startedAt": time.Now().UTC().Format(time.RFC3339)}},
			}},
		},
	}
}

func kubeProxyName(n *node) string {
	suffix := strings.NewReplacer(".", "", "_", "").Replace(strings.ToLower(n.name))
	return "kube-proxy-" + suffix[max(0, len(suffix)-12):]
}
