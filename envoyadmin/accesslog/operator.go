package accesslog

import (
	"fmt"
	"strconv"
	"strings"
)

// Operator is one command of a log format, %NAME(ARG):LIMIT%.
type Operator struct {
	Name  string // as written: REQ, UPSTREAM_HOST
	Arg   string // what stands in the parentheses
	Limit int    // the greatest number of bytes Envoy prints; 0 means all
}

// Key is the operator as Value and Fields name it: without the limit, in
// the short spelling (REQ, RESP, TRAILER) and with header names in capitals, so
// that %REQUEST_HEADER(x-request-id):36% and %REQ(X-REQUEST-ID)% are the same.
func (o Operator) Key() string {
	name, arg := o.Name, o.Arg
	switch name {
	case "REQUEST_HEADER":
		name = "REQ"
	case "RESPONSE_HEADER":
		name = "RESP"
	case "RESPONSE_TRAILER":
		name = "TRAILER"
	}
	switch name {
	case "REQ", "RESP", "TRAILER", "REQ_WITHOUT_QUERY":
		arg = strings.ToUpper(arg)
	}
	if arg == "" {
		return name
	}
	return name + "(" + arg + ")"
}

// String is the operator as a format spells it.
func (o Operator) String() string {
	s := "%" + o.Name
	if o.Arg != "" {
		s += "(" + o.Arg + ")"
	}
	if o.Limit > 0 {
		s += ":" + strconv.Itoa(o.Limit)
	}
	return s + "%"
}

// canonicalKey turns what a caller asks for into a Key.
func canonicalKey(s string) string {
	s = strings.Trim(s, "%")
	name, rest, ok := strings.Cut(s, "(")
	if !ok {
		return Operator{Name: name}.Key()
	}
	arg, _, _ := strings.Cut(rest, ")")
	if i := strings.LastIndexByte(rest, ')'); i >= 0 {
		arg = rest[:i]
	}
	return Operator{Name: name, Arg: arg}.Key()
}

// syntax says what an operator takes, as Envoy's CommandSyntaxChecker does.
type syntax uint8

const (
	paramsNone syntax = iota
	paramsOptional
	paramsRequired
	lengthAllowed syntax = 4
)

// spec is what is known about an operator: its syntax and the shape of what it
// prints.
type spec struct {
	syntax syntax
	shape  shape
}

// specs holds Envoy's operators (source/common/formatter/*.cc and the
// formatter extensions), with REQ, RESP and TRAILER, the older spellings.
var specs = map[string]spec{
	"ACCESS_LOG_TYPE":                {paramsNone, shapeToken},
	"BYTES_RECEIVED":                 {paramsNone, shapeNumber},
	"BYTES_RETRANSMITTED":            {paramsNone, shapeNumber},
	"BYTES_SENT":                     {paramsNone, shapeNumber},
	"CEL":                            {paramsRequired | lengthAllowed, shapeFree},
	"CLUSTER_METADATA":               {paramsRequired, shapeFree},
	"COMMON_DURATION":                {paramsRequired, shapeNumber},
	"CONNECTION_ID":                  {paramsNone, shapeNumber},
	"CONNECTION_TERMINATION_DETAILS": {paramsNone, shapeReason},
	"CUSTOM_FLAGS":                   {paramsNone, shapeToken},
	"DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED": {paramsNone, shapeNumber},
	"DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT":     {paramsNone, shapeNumber},
	"DOWNSTREAM_DIRECT_LOCAL_ADDRESS":               {paramsNone, shapeAddress},
	"DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT":  {paramsNone, shapeToken},
	"DOWNSTREAM_DIRECT_LOCAL_PORT":                  {paramsNone, shapeNumber},
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS":              {paramsNone, shapeAddress},
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": {paramsNone, shapeToken},
	"DOWNSTREAM_DIRECT_REMOTE_PORT":                 {paramsNone, shapeNumber},
	"DOWNSTREAM_HANDSHAKE_DURATION":                 {paramsNone, shapeNumber},
	"DOWNSTREAM_HEADER_BYTES_RECEIVED":              {paramsNone, shapeNumber},
	"DOWNSTREAM_HEADER_BYTES_SENT":                  {paramsNone, shapeNumber},
	"DOWNSTREAM_LOCAL_ADDRESS":                      {paramsNone, shapeAddress},
	"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":         {paramsNone, shapeToken},
	"DOWNSTREAM_LOCAL_DNS_SAN":                      {paramsNone, shapeFree},
	"DOWNSTREAM_LOCAL_EMAIL_SAN":                    {paramsNone, shapeFree},
	"DOWNSTREAM_LOCAL_IP_SAN":                       {paramsNone, shapeFree},
	"DOWNSTREAM_LOCAL_OTHERNAME_SAN":                {paramsNone, shapeFree},
	"DOWNSTREAM_LOCAL_PORT":                         {paramsNone, shapeNumber},
	"DOWNSTREAM_LOCAL_SUBJECT":                      {paramsNone, shapeFree},
	"DOWNSTREAM_LOCAL_URI_SAN":                      {paramsNone, shapeFree},
	"DOWNSTREAM_PEER_CERT":                          {paramsNone, shapeToken},
	"DOWNSTREAM_PEER_CERT_V_END":                    {paramsOptional, shapeTime},
	"DOWNSTREAM_PEER_CERT_V_START":                  {paramsOptional, shapeTime},
	"DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1":          {paramsNone, shapeToken},
	"DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256":        {paramsNone, shapeToken},
	"DOWNSTREAM_PEER_CHAIN_SERIALS":                 {paramsNone, shapeToken},
	"DOWNSTREAM_PEER_DNS_SAN":                       {paramsNone, shapeFree},
	"DOWNSTREAM_PEER_EMAIL_SAN":                     {paramsNone, shapeFree},
	"DOWNSTREAM_PEER_FINGERPRINT_1":                 {paramsNone, shapeToken},
	"DOWNSTREAM_PEER_FINGERPRINT_256":               {paramsNone, shapeToken},
	"DOWNSTREAM_PEER_IP_SAN":                        {paramsNone, shapeFree},
	"DOWNSTREAM_PEER_ISSUER":                        {paramsNone, shapeFree},
	"DOWNSTREAM_PEER_OTHERNAME_SAN":                 {paramsNone, shapeFree},
	"DOWNSTREAM_PEER_SERIAL":                        {paramsNone, shapeToken},
	"DOWNSTREAM_PEER_SUBJECT":                       {paramsNone, shapeFree},
	"DOWNSTREAM_PEER_URI_SAN":                       {paramsNone, shapeFree},
	"DOWNSTREAM_REMOTE_ADDRESS":                     {paramsNone, shapeAddress},
	"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":        {paramsNone, shapeToken},
	"DOWNSTREAM_REMOTE_PORT":                        {paramsNone, shapeNumber},
	"DOWNSTREAM_TLS_CIPHER":                         {paramsNone, shapeToken},
	"DOWNSTREAM_TLS_SESSION_ID":                     {paramsNone, shapeToken},
	"DOWNSTREAM_TLS_VERSION":                        {paramsNone, shapeToken},
	"DOWNSTREAM_TRANSPORT_FAILURE_REASON":           {paramsNone, shapeReason},
	"DOWNSTREAM_WIRE_BYTES_RECEIVED":                {paramsNone, shapeNumber},
	"DOWNSTREAM_WIRE_BYTES_SENT":                    {paramsNone, shapeNumber},
	"DURATION":                                      {paramsNone, shapeNumber},
	"DYNAMIC_METADATA":                              {paramsRequired | lengthAllowed, shapeFree},
	"EMIT_TIME":                                     {paramsOptional, shapeTime},
	"EMIT_TIME_LOCAL":                               {paramsOptional, shapeTime},
	"ENVIRONMENT":                                   {paramsRequired | lengthAllowed, shapeFree},
	"FILTER_CHAIN_NAME":                             {paramsNone, shapeToken},
	"FILTER_STATE":                                  {paramsOptional | lengthAllowed, shapeFree},
	"GRPC_STATUS":                                   {paramsOptional, shapeToken},
	"GRPC_STATUS_NUMBER":                            {paramsNone, shapeNumber},
	"HOSTNAME":                                      {paramsNone, shapeToken},
	"LOCAL_REPLY_BODY":                              {paramsNone, shapeFree},
	"METADATA":                                      {paramsRequired, shapeFree},
	"PACKETS_RETRANSMITTED":                         {paramsNone, shapeNumber},
	"PATH":                                          {paramsOptional | lengthAllowed, shapePath},
	"PROTOCOL":                                      {paramsNone, shapeProtocol},
	"QUERY_PARAM":                                   {paramsRequired | lengthAllowed, shapeFree},
	"REQ":                                           {paramsRequired | lengthAllowed, shapeFree},
	"REQUESTED_SERVER_NAME":                         {paramsNone, shapeToken},
	"REQUEST_DURATION":                              {paramsNone, shapeNumber},
	"REQUEST_HEADER":                                {paramsRequired | lengthAllowed, shapeFree},
	"REQUEST_HEADERS_BYTES":                         {paramsNone, shapeNumber},
	"REQUEST_TX_DURATION":                           {paramsNone, shapeNumber},
	"REQ_WITHOUT_QUERY":                             {paramsRequired | lengthAllowed, shapePath},
	"RESP":                                          {paramsRequired | lengthAllowed, shapeFree},
	"RESPONSE_CODE":                                 {paramsNone, shapeNumber},
	"RESPONSE_CODE_DETAILS":                         {paramsOptional, shapeDetails},
	"RESPONSE_DURATION":                             {paramsNone, shapeNumber},
	"RESPONSE_FLAGS":                                {paramsNone, shapeFlags},
	"RESPONSE_FLAGS_LONG":                           {paramsNone, shapeFlags},
	"RESPONSE_HEADER":                               {paramsRequired | lengthAllowed, shapeFree},
	"RESPONSE_HEADERS_BYTES":                        {paramsNone, shapeNumber},
	"RESPONSE_TRAILER":                              {paramsRequired | lengthAllowed, shapeFree},
	"RESPONSE_TRAILERS_BYTES":                       {paramsNone, shapeNumber},
	"RESPONSE_TX_DURATION":                          {paramsNone, shapeNumber},
	"ROUNDTRIP_DURATION":                            {paramsNone, shapeNumber},
	"ROUTE_NAME":                                    {paramsNone, shapeToken},
	"START_TIME":                                    {paramsOptional, shapeTime},
	"START_TIME_LOCAL":                              {paramsOptional, shapeTime},
	"STREAM_ID":                                     {paramsNone, shapeToken},
	"STREAM_INFO_REQ":                               {paramsRequired | lengthAllowed, shapeFree},
	"TLS_JA3_FINGERPRINT":                           {paramsNone, shapeToken},
	"TLS_JA4_FINGERPRINT":                           {paramsNone, shapeToken},
	"TRACE_ID":                                      {paramsNone, shapeToken},
	"TRAILER":                                       {paramsRequired | lengthAllowed, shapeFree},
	"UNIQUE_ID":                                     {paramsNone, shapeToken},
	"UPSTREAM_CLUSTER":                              {paramsNone, shapeToken},
	"UPSTREAM_CLUSTER_RAW":                          {paramsNone, shapeToken},
	"UPSTREAM_CONNECTION_ID":                        {paramsNone, shapeNumber},
	"UPSTREAM_CONNECTION_POOL_READY_DURATION":       {paramsNone, shapeNumber},
	"UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED":   {paramsNone, shapeNumber},
	"UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT":       {paramsNone, shapeNumber},
	"UPSTREAM_FILTER_STATE":                         {paramsOptional | lengthAllowed, shapeFree},
	"UPSTREAM_HEADER_BYTES_RECEIVED":                {paramsNone, shapeNumber},
	"UPSTREAM_HEADER_BYTES_SENT":                    {paramsNone, shapeNumber},
	"UPSTREAM_HOST":                                 {paramsNone, shapeAddress},
	"UPSTREAM_HOST_NAME":                            {paramsNone, shapeToken},
	"UPSTREAM_HOST_NAME_WITHOUT_PORT":               {paramsNone, shapeToken},
	"UPSTREAM_LOCAL_ADDRESS":                        {paramsNone, shapeAddress},
	"UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":           {paramsNone, shapeToken},
	"UPSTREAM_LOCAL_DNS_SAN":                        {paramsNone, shapeFree},
	"UPSTREAM_LOCAL_IP_SAN":                         {paramsNone, shapeFree},
	"UPSTREAM_LOCAL_PORT":                           {paramsNone, shapeNumber},
	"UPSTREAM_LOCAL_URI_SAN":                        {paramsNone, shapeFree},
	"UPSTREAM_METADATA":                             {paramsRequired, shapeFree},
	"UPSTREAM_PEER_CERT":                            {paramsNone, shapeToken},
	"UPSTREAM_PEER_CERT_V_END":                      {paramsOptional, shapeTime},
	"UPSTREAM_PEER_CERT_V_START":                    {paramsOptional, shapeTime},
	"UPSTREAM_PEER_DNS_SAN":                         {paramsNone, shapeFree},
	"UPSTREAM_PEER_IP_SAN":                          {paramsNone, shapeFree},
	"UPSTREAM_PEER_ISSUER":                          {paramsNone, shapeFree},
	"UPSTREAM_PEER_SUBJECT":                         {paramsNone, shapeFree},
	"UPSTREAM_PEER_URI_SAN":                         {paramsNone, shapeFree},
	"UPSTREAM_PROTOCOL":                             {paramsNone, shapeProtocol},
	"UPSTREAM_REMOTE_ADDRESS":                       {paramsNone, shapeAddress},
	"UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":          {paramsNone, shapeToken},
	"UPSTREAM_REMOTE_PORT":                          {paramsNone, shapeNumber},
	"UPSTREAM_REQUEST_ATTEMPT_COUNT":                {paramsNone, shapeNumber},
	"UPSTREAM_TLS_CIPHER":                           {paramsNone, shapeToken},
	"UPSTREAM_TLS_SESSION_ID":                       {paramsNone, shapeToken},
	"UPSTREAM_TLS_VERSION":                          {paramsNone, shapeToken},
	"UPSTREAM_TRANSPORT_FAILURE_REASON":             {paramsNone, shapeReason},
	"UPSTREAM_WIRE_BYTES_RECEIVED":                  {paramsNone, shapeNumber},
	"UPSTREAM_WIRE_BYTES_SENT":                      {paramsNone, shapeNumber},
	"VIRTUAL_CLUSTER_NAME":                          {paramsNone, shapeToken},
}

// headerShapes are the shapes of the headers whose values Envoy or HTTP
// itself restricts.
var headerShapes = map[string]shape{
	"REQ(:METHOD)":                          shapeToken,
	"REQ(:SCHEME)":                          shapeToken,
	"REQ(:PATH)":                            shapePath,
	"REQ(X-ENVOY-ORIGINAL-PATH?:PATH)":      shapePath,
	"REQ(X-ENVOY-ORIGINAL-PATH)":            shapePath,
	"REQ(X-ORIGINAL-PATH?:PATH)":            shapePath,
	"REQ(:AUTHORITY)":                       shapeToken,
	"REQ(X-ENVOY-ORIGINAL-HOST?:AUTHORITY)": shapeToken,
	"REQ(HOST)":                             shapeToken,
	"REQ(X-REQUEST-ID)":                     shapeToken,
	"REQ(X-B3-TRACEID)":                     shapeToken,
	"REQ(TRACEPARENT)":                      shapeToken,
	"RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)":   shapeMillis,
}

// shapeOf is the shape of what an operator prints.
func shapeOf(o Operator) shape {
	if s, ok := headerShapes[o.Key()]; ok {
		return s
	}
	s, ok := specs[o.Name]
	if !ok {
		return shapeFree
	}
	if s.shape == shapeTime && o.Arg != "" {
		return shapeClock
	}
	if o.Limit > 0 && s.shape != shapeFree && s.shape != shapePath {
		return shapeToken
	}
	return s.shape
}

// check refuses what Envoy refuses to load. An operator that is not known may
// come from an extension and is accepted.
func (o Operator) check(limited bool) error {
	s, ok := specs[o.Name]
	if !ok {
		return nil
	}
	switch s.syntax &^ lengthAllowed {
	case paramsNone:
		if o.Arg != "" {
			return fmt.Errorf("%s takes no parameter, got %q", o.Name, o.Arg)
		}
	case paramsRequired:
		if o.Arg == "" {
			return fmt.Errorf("%s needs a parameter", o.Name)
		}
	}
	if limited && s.syntax&lengthAllowed == 0 {
		return fmt.Errorf("%s takes no length", o.Name)
	}
	return nil
}
