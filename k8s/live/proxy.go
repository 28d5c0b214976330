package live

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hoptrail/hoptrail/trace"
)

// adminPaths are the requests of Envoy's admin API behind the files of a proxy.
var adminPaths = map[string]string{
	"config_dump.json": "/config_dump?include_eds",
	"clusters.json":    "/clusters?format=json",
	"listeners.json":   "/listeners?format=json",
	"certs.json":       "/certs",
	"server_info.json": "/server_info",
	// Only the counters that prove a finding: a gateway has tens of thousands.
	"stats.txt": "/stats?usedonly&filter=" + url.QueryEscape(`update_(rejected|failure|success|attempt)|version_text|pending_overflow|cx_overflow|retry_overflow|ejections_active|cx_connect_(fail|timeout)|ssl\.(fail|connection_error)|no_filter_chain_match|downstream_pre_cx_timeout|listener_create_failure|(rbac|jwt_authn|ext_authz)\.denied|rbac\.allowed|\.no_(route|cluster)$|rq_(direct_response|redirect)$|cx_none_healthy|upstream_rq_timeout|cx_destroy_remote_with_active_rq|secrets_not_ready|cx_protocol_error|aborts_injected|circuit_breakers\.(default|high)\.(cx|rq|rq_pending)_open`),
}

// proxyFile reads one answer of an Envoy, or its log.
func (s *Source) proxyFile(ctx context.Context, q trace.Query) (trace.Observation, error) {
	if q.File == "access.log" {
		return s.accessLog(ctx, q)
	}
	path, ok := adminPaths[q.File]
	if !ok {
		return trace.Observation{}, fmt.Errorf("nothing prints %s of a proxy", q.File)
	}
	pod, err := s.pod(ctx, q.Namespace, q.Name)
	if err != nil {
		return trace.Observation{}, err
	}
	port := adminPort(pod)
	data, err := s.getForwarded(ctx, q.Namespace, q.Name, port, path, s.opts.MaxBytes)
	if err == nil {
		err = complete(q.File, data)
	}
	if err == nil {
		return trace.Observation{Data: data}, nil
	}
	var answered *adminError
	if ctx.Err() != nil || errors.Is(err, errTooLarge) || errors.Is(err, errJSON) || errors.As(err, &answered) {
		return trace.Observation{}, err
	}
	// Not by port-forward: by a program in the container.
	forwardErr := err
	container := pod.proxyContainer()
	local := "http://127.0.0.1:" + strconv.Itoa(port) + path
	agent := []string{"pilot-agent", "request", "GET", strings.TrimPrefix(path, "/")}
	if port != istioAdminPort {
		agent = append(agent, "--debug-port", strconv.Itoa(port))
	}
	for _, argv := range [][]string{
		agent,
		{"curl", "-sS", "--fail", "--max-time", "30", local},
		{"wget", "-qO-", "-T", "30", local},
	} {
		if argv[0] == "pilot-agent" && container != "istio-proxy" {
			continue
		}
		data, err := s.exec(ctx, q.Namespace, q.Name, container, s.opts.MaxBytes, argv...)
		if err == nil {
			if err = complete(q.File, data); err == nil {
				return trace.Observation{Data: data}, nil
			}
		}
		var missing *execError
		if errors.As(err, &missing) && missing.missing {
			continue
		}
		var api *apiError
		if errors.As(err, &api) && api.code == http.StatusForbidden {
			break // the port-forward's refusal says which right is the lesser one
		}
		if ctx.Err() != nil {
			return trace.Observation{}, ctx.Err()
		}
		return trace.Observation{}, fmt.Errorf("%w; and by exec: %w", forwardErr, err)
	}
	return trace.Observation{}, forwardErr
}

// complete says whether an answer is whole: an admin API that is cut off in the
// middle may end its connection in good order.
func complete(file string, data []byte) error {
	if !strings.HasSuffix(file, ".json") {
		return nil
	}
	if err := whole(data); err != nil {
		return fmt.Errorf("the answer ends in the middle, after %d bytes: %w", len(data), err)
	}
	return nil
}

// adminPort is the port of Envoy's admin API: what the Pod says or its kind of
// proxy has, else 19000 for Envoy Gateway's proxies, else Istio's 15000.
func adminPort(p *podInfo) int {
	if port := p.proxy().AdminPort; port != 0 {
		return int(port)
	}
	if _, ok := p.Metadata.Labels["gateway.envoyproxy.io/owning-gateway-name"]; ok {
		return 19000
	}
	return istioAdminPort
}

const istioAdminPort = 15000

func (s *Source) logRequest(pod *podInfo, query url.Values) request {
	ns, name := pod.Metadata.Namespace, pod.Metadata.Name
	if c := pod.proxyContainer(); c != "" {
		query.Set("container", c)
	}
	return request{
		path:  "/api/v1/namespaces/" + url.PathEscape(ns) + "/pods/" + url.PathEscape(name) + "/log",
		query: query, verb: "get", resource: "pods/log", namespace: ns, name: name,
	}
}

// maxLog bounds what is read of one access log, in bytes.
const maxLog = 16 << 20

// accessLog reads the end of a proxy's log. A log that does not end in time, or
// is larger than its bound, is cut after a whole line: what was read is true, and
// Cut says what is missing.
func (s *Source) accessLog(ctx context.Context, q trace.Query) (trace.Observation, error) {
	pod, err := s.pod(ctx, q.Namespace, q.Name)
	if err != nil {
		return trace.Observation{}, err
	}
	limit := min(s.opts.MaxBytes, maxLog)
	query := url.Values{
		"sinceSeconds": {strconv.Itoa(int(s.opts.LogSince / time.Second))},
		"tailLines":    {strconv.Itoa(s.opts.LogTail)},
		"limitBytes":   {strconv.FormatInt(limit, 10)},
	}
	began := time.Now()
	// Half of the time left, so that an endless log leaves time to answer.
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
	}
	body, err := s.open(ctx, s.logRequest(pod, query))
	if err != nil {
		return trace.Observation{}, err
	}
	defer body.Close()
	data, err := readAll(body, limit)
	obs := trace.Observation{Data: data, Span: "the last " + s.opts.LogSince.String()}
	switch {
	case err == nil && int64(len(data)) < limit:
		if lines := bytes.Count(data, []byte{'\n'}); lines >= s.opts.LogTail {
			obs.Cut = fmt.Sprintf("the latest %d lines, and there may be more before them (--log-tail)", lines)
		}
		return obs, nil
	case err == nil || errors.Is(err, errTooLarge): // the server keeps to the limit itself
		obs.Cut = fmt.Sprintf("it is larger than %d bytes, and its latest lines are not among those (--log-since, --log-tail ask for less)", limit)
	case ctx.Err() != nil:
		obs.Cut = fmt.Sprintf("it did not end within %s", time.Since(began).Round(100*time.Millisecond))
	default:
		obs.Cut = "the connection ended in the middle: " + strings.Join(strings.Fields(unwrapURL(err).Error()), " ")
	}
	end := bytes.LastIndexByte(data, '\n')
	if end < 0 {
		if err == nil {
			err = fmt.Errorf("%w of %d bytes: one line", errTooLarge, limit)
		}
		return trace.Observation{}, err
	}
	obs.Data = data[:end+1]
	return obs, nil
}

// FollowLog reads the log of a proxy as it is written, from since on (zero: from
// now), and calls line for every line without its end, until ctx ends or the
// log does. The line is only valid during the call.
func (s *Source) FollowLog(ctx context.Context, namespace, name string, since time.Time, line func([]byte)) error {
	pod, err := s.pod(ctx, namespace, name)
	if err != nil {
		return err
	}
	query := url.Values{"follow": {"true"}}
	if since.IsZero() {
		query.Set("tailLines", "0")
	} else {
		query.Set("sinceTime", since.UTC().Format(time.RFC3339))
	}
	body, err := s.open(ctx, s.logRequest(pod, query))
	if err != nil {
		return fmt.Errorf("follow the log of %s/%s: %w", namespace, name, err)
	}
	defer body.Close()
	r := bufio.NewReaderSize(body, 64<<10)
	for {
		text, err := r.ReadSlice('\n')
		if len(text) > 0 {
			line(bytes.TrimRight(text, "\r\n"))
		}
		for errors.Is(err, bufio.ErrBufferFull) { // the rest of a line without end
			_, err = r.ReadSlice('\n')
		}
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, io.EOF) {
				return ctx.Err()
			}
			return fmt.Errorf("follow the log of %s/%s: %w", namespace, name, err)
		}
	}
}
