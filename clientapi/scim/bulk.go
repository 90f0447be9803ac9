package scim

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/strictjson"
)

// bulkOperation is a request within a request.
//
// Spec: RFC 7644 §3.7
type bulkOperation struct {
	Method  string          `json:"method"`
	BulkID  string          `json:"bulkId"`
	Version string          `json:"version"`
	Path    string          `json:"path"`
	Data    json.RawMessage `json:"data"`
}

type bulkResult struct {
	Method   string `json:"method"`
	BulkID   string `json:"bulkId,omitempty"`
	Version  string `json:"version,omitempty"`
	Location string `json:"location,omitempty"`
	Status   string `json:"status"`
	Response any    `json:"response,omitempty"`
}

type bulkResponse struct {
	Schemas    []string     `json:"schemas"`
	Operations []bulkResult `json:"Operations"`
}

// bulk carries out many operations. One that fails does not keep the others from being carried out, unless failOnErrors says so.
// Operations on people who have nothing to do with each other are carried out side by side.
//
// Spec: RFC 7644 §3.7
func (s *Server) bulk(ctx context.Context, c *httpapi.Call) (any, error) {
	operations, failOn, err := parseBulk(c.Body)
	if err != nil {
		return nil, err
	}
	run := &bulkRun{s: s, c: c, ids: map[string]string{}, failOn: failOn, results: make([]bulkResult, len(operations))}
	done := run.all(ctx, operations)
	return bulkResponse{[]string{messageBulked}, run.results[:done]}, nil
}

// parseBulk reads the body piece by piece.
func parseBulk(body []byte) (operations []bulkOperation, failOn int, err error) {
	malformed := invalid("invalidSyntax", "the body is not a bulk request")
	decoder := json.NewDecoder(bytes.NewReader(body))
	if t, err := decoder.Token(); err != nil || t != json.Delim('{') {
		return nil, 0, malformed
	}
	seen := map[string]bool{}
	for decoder.More() {
		key, err := decoder.Token()
		name, ok := key.(string)
		if err != nil || !ok || seen[name] {
			return nil, 0, malformed
		}
		seen[name] = true
		switch name {
		case "Operations":
			if operations, err = readOperations(decoder); err != nil {
				return nil, 0, err
			}
		default:
			var raw json.RawMessage
			if decoder.Decode(&raw) != nil || strictjson.Check(raw) != nil {
				return nil, 0, malformed
			}
			if name == "failOnErrors" {
				if failOn, err = strconv.Atoi(string(raw)); err != nil {
					return nil, 0, malformed
				}
			}
			if name == "schemas" && !bytes.Contains(raw, []byte(messageBulk)) {
				return nil, 0, invalid("invalidSyntax", "schemas must contain %s", messageBulk)
			}
		}
	}
	if _, err := decoder.Token(); err != nil || decoder.More() || !seen["schemas"] || len(operations) == 0 {
		return nil, 0, malformed
	}
	return operations, failOn, nil
}

func readOperations(decoder *json.Decoder) ([]bulkOperation, error) {
	malformed := invalid("invalidSyntax", "Operations must be a list of operations")
	if t, err := decoder.Token(); err != nil || t != json.Delim('[') {
		return nil, malformed
	}
	var list []bulkOperation
	for decoder.More() {
		if len(list) == limits.ScimBulk {
			return nil, matrix.TooLarge("more than %d operations", limits.ScimBulk).With("scimType", "tooMany")
		}
		var raw json.RawMessage
		if decoder.Decode(&raw) != nil {
			return nil, malformed
		}
		var op bulkOperation
		if err := strictjson.Decode(raw, &op); err != nil {
			return nil, invalid("invalidSyntax", "operation %d: %s", len(list)+1, err)
		}
		list = append(list, op)
	}
	if _, err := decoder.Token(); err != nil {
		return nil, malformed
	}
	return list, nil
}

// bulkRun is a bulk request on its way.
type bulkRun struct {
	s       *Server
	c       *httpapi.Call
	failOn  int
	results []bulkResult

	mu     sync.Mutex
	ids    map[string]string // what bulkIds stand for
	failed int
}

var bulkReference = regexp.MustCompile(`bulkId:[^"/\s]+`)

// all carries the operations out, and says how many.
func (r *bulkRun) all(ctx context.Context, operations []bulkOperation) int {
	var group sync.WaitGroup
	places := make(chan struct{}, limits.ScimBulkParallel)
	busy := map[string]bool{}
	for i := range operations {
		op := &operations[i]
		if r.failOn > 0 || ctx.Err() != nil || dependent(op) || busy[op.Path] {
			group.Wait()
			clear(busy)
		}
		if r.failOn > 0 && r.failed >= r.failOn {
			return i
		}
		if op.Method != http.MethodPost {
			busy[op.Path] = true
		}
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			r.results[i] = r.one(ctx, op)
		})
	}
	group.Wait()
	return len(operations)
}

// dependent reports whether an operation wants those before it to be done: it refers to what they make, or is about a group.
func dependent(op *bulkOperation) bool {
	return strings.HasPrefix(op.Path, groupType.Endpoint) || strings.Contains(op.Path, "bulkId:") || bytes.Contains(op.Data, []byte("bulkId:"))
}

// one carries an operation out.
func (r *bulkRun) one(ctx context.Context, op *bulkOperation) bulkResult {
	result := bulkResult{Method: op.Method, BulkID: op.BulkID}
	made, status, err := r.carryOut(ctx, op)
	if err != nil {
		return r.failure(ctx, result, err)
	}
	result.Status = strconv.Itoa(status)
	if made != nil {
		meta := made["meta"].(map[string]any)
		result.Location, result.Version = meta["location"].(string), meta["version"].(string)
		result.Response = made
		if op.BulkID != "" {
			r.mu.Lock()
			r.ids[op.BulkID] = made["id"].(string)
			r.mu.Unlock()
		}
	}
	return result
}

func (r *bulkRun) failure(ctx context.Context, result bulkResult, err error) bulkResult {
	e, ok := matrix.AsError(errorForm(err))
	if !ok {
		httpapi.Log(ctx).Error("an operation of a bulk request failed", "err", err)
		e = matrix.NewError(http.StatusInternalServerError, matrix.ErrUnknown, "internal server error")
	}
	result.Status = strconv.Itoa(e.Status)
	response := map[string]any{"schemas": []string{messageError}, "status": result.Status, "detail": e.Message}
	if kind := e.Fields["scimType"]; kind != nil {
		response["scimType"] = kind
	}
	result.Response = response
	r.mu.Lock()
	r.failed++
	r.mu.Unlock()
	return result
}

// carryOut finds what an operation is about and does it.
func (r *bulkRun) carryOut(ctx context.Context, op *bulkOperation) (resource, int, error) {
	path, data, err := r.resolved(op)
	if err != nil {
		return nil, 0, err
	}
	endpoint, id, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if id, err = url.PathUnescape(id); err != nil {
		return nil, 0, invalid("invalidPath", "path has a broken escape")
	}
	call := r.c.Within(op.Method, map[string]string{"id": id}, data)
	if op.Version != "" {
		call.Request.Header.Set("If-Match", op.Version)
	}
	handlers := map[string]httpapi.Handler{
		"POST Users": r.s.createUser, "PUT Users": r.s.replaceUser, "PATCH Users": r.s.patchUser, "DELETE Users": r.s.deleteUser,
		"POST Groups": r.s.createGroup, "PUT Groups": r.s.replaceGroup, "PATCH Groups": r.s.patchGroup, "DELETE Groups": r.s.deleteGroup,
	}
	method := strings.ToUpper(op.Method)
	handle := handlers[method+" "+endpoint]
	if handle == nil || (id == "") != (method == http.MethodPost) {
		return nil, 0, invalid("invalidPath", "there is no %s of this path", head(op.Method))
	}
	result, err := handle(ctx, call)
	if err != nil {
		return nil, 0, err
	}
	status := result.(httpapi.Status)
	made, _ := status.Body.(resource)
	return made, status.Code, nil
}

// resolved puts ids in place of bulkIds.
func (r *bulkRun) resolved(op *bulkOperation) (path string, data []byte, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	replace := func(text string) string {
		return bulkReference.ReplaceAllStringFunc(text, func(ref string) string {
			id, ok := r.ids[strings.TrimPrefix(ref, "bulkId:")]
			if !ok {
				err = matrix.NewError(http.StatusConflict, matrix.ErrUnknown, "%s was not made", head(ref))
			}
			return id
		})
	}
	path = replace(op.Path)
	if !bytes.Contains(op.Data, []byte("bulkId:")) {
		return path, op.Data, err
	}
	return path, []byte(replace(string(op.Data))), err
}
