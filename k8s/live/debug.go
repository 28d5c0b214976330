package live

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hoptrail/hoptrail/trace"
)

// debugPod is a Pod that was created on one node to print its files. Each of its
// containers runs one program once; the answers are the containers' logs, so
// neither a shell nor the right to exec is needed.
type debugPod struct {
	once      sync.Once
	namespace string
	name      string
	created   bool // or perhaps: no answer said that it was not
	err       error
}

// debugTools are the programs a debug Pod runs: the container's name and the file.
var debugTools = []struct{ container, file string }{
	{"iptables-save", "iptables-save.txt"},
	{"iptables-legacy-save", "iptables-legacy-save.txt"},
	{"iptables-nft-save", "iptables-nft-save.txt"},
	{"ip6tables-save", "ip6tables-save.txt"},
	{"ipset-save", "ipset-save.txt"},
	{"conntrack", "conntrack.txt"},
	{"ip-addr", "ip-addr.json"},
	{"ip-route", "ip-route.json"},
	{"nft-ruleset", "nft-ruleset.json"},
}

// debugFile reads a node's file from the log of the debug Pod, which is created
// at the first use.
func (s *Source) debugFile(ctx context.Context, q trace.Query) ([]byte, error) {
	i := slices.IndexFunc(debugTools, func(t struct{ container, file string }) bool { return t.file == q.File })
	if i < 0 {
		return nil, fmt.Errorf("a debug Pod does not print %s", q.File)
	}
	container := debugTools[i].container
	s.mu.Lock()
	if err := s.ctx.Err(); err != nil {
		// Close removes what is in s.debug by now: nobody would remove this one.
		s.mu.Unlock()
		return nil, err
	}
	d := s.debug[q.Name]
	if d == nil {
		d = &debugPod{}
		s.debug[q.Name] = d
	}
	s.mu.Unlock()
	d.once.Do(func() { d.err = s.createDebugPod(ctx, q.Name, d) })
	if d.err != nil {
		return nil, d.err
	}
	for {
		// Past the cache: the Pod changes while it is waited for.
		data, err := s.get(ctx, request{
			path: "/api/v1/namespaces/" + url.PathEscape(d.namespace) + "/pods/" + url.PathEscape(d.name),
			verb: "get", resource: "pods", namespace: d.namespace, name: d.name,
		}, 4<<20)
		if err != nil {
			return nil, err
		}
		pod, err := parsePod(data)
		if err != nil {
			return nil, err
		}
		done, err := containerDone(pod, container)
		if err != nil {
			return nil, fmt.Errorf("debug Pod %s/%s on node %s: %w", d.namespace, d.name, q.Name, err)
		}
		if done {
			break
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(300 * time.Millisecond):
		}
	}
	body, err := s.open(ctx, request{
		path:  "/api/v1/namespaces/" + url.PathEscape(d.namespace) + "/pods/" + url.PathEscape(d.name) + "/log",
		query: url.Values{"container": {container}, "limitBytes": {strconv.FormatInt(s.opts.MaxBytes, 10)}},
		verb:  "get", resource: "pods/log", namespace: d.namespace, name: d.name,
	})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return readAll(body, s.opts.MaxBytes)
}

// containerDone says whether the container has printed its file. One that cannot
// start, or ended badly, is an error.
func containerDone(pod *podInfo, container string) (bool, error) {
	for _, c := range pod.Status.ContainerStatuses {
		if c.Name != container {
			continue
		}
		switch {
		case c.State.Terminated != nil && c.State.Terminated.ExitCode == 0:
			return true, nil
		case c.State.Terminated != nil:
			return false, fmt.Errorf("%s ended with status %d", container, c.State.Terminated.ExitCode)
		case c.State.Waiting != nil && (strings.Contains(c.State.Waiting.Reason, "Err") || strings.Contains(c.State.Waiting.Reason, "BackOff") || c.State.Waiting.Reason == "InvalidImageName"):
			return false, fmt.Errorf("%s cannot start: %s: %s", container, c.State.Waiting.Reason, c.State.Waiting.Message)
		}
	}
	if pod.Status.Phase == "Failed" || pod.Status.Phase == "Succeeded" {
		return false, fmt.Errorf("%s printed nothing before the Pod was %s", container, pod.Status.Phase)
	}
	return false, nil
}

// debugImages are parts of the names of images that hold netfilter's tools.
var debugImages = []string{"/kube-proxy", "distroless-iptables", "/proxyv2", "/calico/node", "/cilium/cilium", "/flannel", "/kindnetd", "/node-local-dns"}

func (s *Source) debugImage(ctx context.Context, node string) (string, error) {
	if s.opts.NodeDebugImage != "" {
		return s.opts.NodeDebugImage, nil
	}
	n, err := s.node(ctx, node)
	if err != nil {
		return "", fmt.Errorf("which images node %s has: %w", node, err)
	}
	for _, part := range debugImages {
		for _, image := range n.Status.Images {
			for _, name := range image.Names {
				if strings.Contains("/"+name, part) {
					return name, nil
				}
			}
		}
	}
	return "", fmt.Errorf("node %s has no image with iptables; name one with --node-debug-image", node)
}

// mayRemove says, before a debug Pod is made, whether what it prints may be read
// and the Pod be removed again: one that would have to stay is not made. The
// question is a review that the API server answers and does not keep; every user
// may ask it of himself.
func (s *Source) mayRemove(ctx context.Context) error {
	for _, right := range []struct{ verb, subresource string }{{"delete", ""}, {"get", ""}, {"get", "log"}} {
		r := request{verb: right.verb, resource: "pods", namespace: s.namespace}
		if right.subresource != "" {
			r.resource += "/" + right.subresource
		}
		body, err := json.Marshal(map[string]any{
			"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
			"spec": map[string]any{"resourceAttributes": map[string]string{
				"verb": right.verb, "resource": "pods", "subresource": right.subresource, "namespace": s.namespace,
			}},
		})
		if err != nil {
			return err
		}
		answer, err := s.write(ctx, http.MethodPost, request{
			path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
			verb: "create", group: "authorization.k8s.io", resource: "selfsubjectaccessreviews",
		}, body)
		var review struct {
			Status struct {
				Allowed bool
				Reason  string
			}
		}
		if err == nil {
			err = json.Unmarshal(answer, &review)
		}
		if err != nil {
			return fmt.Errorf("no Pod was created: whether it could be removed again was not found out: %w", err)
		}
		if !review.Status.Allowed {
			why := fmt.Sprintf("no Pod was created: the right to %s %s in namespace %s is missing, and it could not be read or not be removed again", r.verb, r.resource, r.namespace)
			return &apiError{code: http.StatusForbidden, message: why, verb: r.verb, resource: r.resource, namespace: r.namespace}
		}
	}
	return nil
}

func (s *Source) createDebugPod(ctx context.Context, node string, d *debugPod) error {
	image, err := s.debugImage(ctx, node)
	if err != nil {
		return err
	}
	if err := s.mayRemove(ctx); err != nil {
		return err
	}
	// The name is ours, so that the Pod can be removed also where the answer to
	// its creation never came.
	suffix := make([]byte, 5)
	rand.Read(suffix)
	name := "hoptrail-node-" + hex.EncodeToString(suffix)
	type object = map[string]any
	var containers []object
	for _, t := range debugTools {
		containers = append(containers, object{
			"name": t.container, "image": image, "imagePullPolicy": "IfNotPresent",
			"command": nodeCommands[t.file][0].argv,
			"securityContext": object{
				"runAsUser":    0,
				"capabilities": object{"drop": []string{"ALL"}, "add": []string{"NET_ADMIN", "NET_RAW"}},
			},
		})
	}
	pod := object{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": object{
			"name": name, "namespace": s.namespace,
			"labels":      object{"app.kubernetes.io/managed-by": "hoptrail"},
			"annotations": object{"sidecar.istio.io/inject": "false"},
		},
		"spec": object{
			"nodeName": node, "hostNetwork": true, "restartPolicy": "Never",
			"activeDeadlineSeconds": 120, "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
			"tolerations": []object{{"operator": "Exists"}},
			"containers":  containers,
		},
	}
	body, err := json.Marshal(pod)
	if err != nil {
		return err
	}
	// Not on ctx alone: a Pod that the server made after we looked away would stay.
	cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.ReadTimeout)
	defer cancel()
	d.namespace, d.name, d.created = s.namespace, name, true
	_, err = s.write(cctx, http.MethodPost, request{
		path: "/api/v1/namespaces/" + url.PathEscape(s.namespace) + "/pods",
		verb: "create", resource: "pods", namespace: s.namespace,
	}, body)
	var api *apiError
	if errors.As(err, &api) && api.code < 500 {
		d.created = false // that is an answer: there is none
	}
	if err != nil {
		return fmt.Errorf("create a Pod on node %s: %w", node, err)
	}
	s.tell("created Pod %s/%s on node %s (image %s) to read the node's rules", d.namespace, d.name, node, image)
	return nil
}

func (s *Source) tell(format string, args ...any) {
	if s.opts.Tell != nil {
		s.opts.Tell(fmt.Sprintf(format, args...))
	}
}

// write sends a request that changes something. Only debug Pods are.
func (s *Source) write(ctx context.Context, method string, r request, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.url(r.path, r.query).String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	s.requests.Add(1)
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, unwrapURL(err)
	}
	if resp.StatusCode >= 300 {
		return nil, s.readError(resp, r)
	}
	defer resp.Body.Close()
	return io.ReadAll(io.LimitReader(resp.Body, 4<<20))
}

// removeDebugPods deletes what createDebugPod made, also after ctrl-c.
func (s *Source) removeDebugPods() error {
	s.mu.Lock()
	pods := s.debug
	s.debug = map[string]*debugPod{}
	s.mu.Unlock()
	var errs []error
	for _, d := range pods {
		// Waits for a creation that is under way: what it makes must go too.
		d.once.Do(func() { d.err = errors.New("closed") })
		if !d.created {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		_, err := s.write(ctx, http.MethodDelete, request{
			path: "/api/v1/namespaces/" + url.PathEscape(d.namespace) + "/pods/" + url.PathEscape(d.name),
			verb: "delete", resource: "pods", namespace: d.namespace, name: d.name,
		}, []byte(`{"apiVersion":"v1","kind":"DeleteOptions","gracePeriodSeconds":0}`))
		cancel()
		var api *apiError
		if errors.As(err, &api) && api.code == http.StatusNotFound {
			continue // it was never made, or has gone by itself
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("debug Pod %s/%s was not removed: %w; run kubectl -n %s delete pod %s", d.namespace, d.name, err, d.namespace, d.name))
			continue
		}
		s.tell("removed Pod %s/%s", d.namespace, d.name)
	}
	return errors.Join(errs...)
}
