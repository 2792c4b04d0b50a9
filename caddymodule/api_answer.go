package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/lifecycle"
)

// maxRequestBody bounds a request's body in bytes: a credential and what is around it.
const maxRequestBody = credential.MaxSize + 4<<10

// maxDrain is how much is read, in bytes, of what is beyond it.
const maxDrain = 8 << 20

// tenantBody is what the API says of a tenant.
type tenantBody struct {
	ID       string `json:"id"`
	Provider string `json:"provider"`
	lifecycle.Description
	LastOutcome *outcomeBody `json:"last_outcome,omitempty"`
}

// noCredential is tenantBody for a tenant without a credential.
type noCredential struct {
	ID          string    `json:"id"`
	Provider    string    `json:"provider"`
	Status      string    `json:"status"`
	Credentials *struct{} `json:"credentials"`
}

// answer does what an authorized request asks for.
func (a *API) answer(w http.ResponseWriter, r *http.Request, c *call) error {
	var err error
	switch {
	case c.link && r.Method == http.MethodPost:
		err = a.answerLink(w, r, c)
	case c.link:
		err = errMethod
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		err = a.answerGet(w, r, c)
	case r.Method == http.MethodPatch, r.Method == http.MethodPut && c.tenant != "":
		err = a.answerPut(w, r, c)
	case r.Method == http.MethodDelete && c.tenant != "":
		err = a.answerDelete(w, r, c)
	default:
		err = errMethod
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, errMethod) {
		w.Header().Set("Allow", c.methods())
	}
	return a.answerError(w, r, err)
}

var errMethod = &apiError{http.StatusMethodNotAllowed, "method_not_allowed", "the method is not one that this path takes"}

func (a *API) answerGet(w http.ResponseWriter, r *http.Request, c *call) error {
	cred, err := a.app.backend.lifecycle.Get(r.Context(), a.provider, c.name)
	if errors.Is(err, credential.ErrNotFound) && c.tenant == "" {
		// Whoever has a token exists, whether they have brought a credential or not.
		return writeJSON(w, http.StatusOK, noCredential{ID: string(c.name), Provider: a.Provider, Status: "missing"})
	}
	if errors.Is(err, credential.ErrInvalid) {
		return writeJSON(w, http.StatusOK, tenantBody{ID: string(c.name), Provider: a.Provider, Description: lifecycle.DescribeInvalid(err)})
	}
	if err != nil {
		return err
	}
	return a.answerTenant(w, c, cred)
}

// answerTenant tells what may be told of a credential.
func (a *API) answerTenant(w http.ResponseWriter, c *call, cred *credential.Credential) error {
	w.Header().Set("ETag", entityTag(cred.Version()))
	return writeJSON(w, http.StatusOK, tenantBody{
		ID: string(c.name), Provider: a.Provider, Description: lifecycle.Describe(a.provider, cred),
		LastOutcome: publicOutcomeBody(a.app.lastOutcome(a.provider, c.name, cred)),
	})
}

func (a *API) answerPut(w http.ResponseWriter, r *http.Request, c *call) error {
	change := lifecycle.Change{By: "api", Logger: a.logger}
	var err error
	if change.If, err = precondition(r.Header); err != nil {
		return err
	}
	if err := readChange(r, c.tenant != "", &change); err != nil {
		return err
	}
	if r.Method == http.MethodPut && change.Document == nil {
		return badRequest("credentials are missing")
	}
	cred, err := a.app.backend.lifecycle.Put(r.Context(), a.provider, c.name, change)
	if err != nil {
		return err
	}
	return a.answerTenant(w, c, cred)
}

func (a *API) answerDelete(w http.ResponseWriter, r *http.Request, c *call) error {
	condition, err := precondition(r.Header)
	if err != nil {
		return err
	}
	force := r.URL.Query().Get("force") == "true"
	revoked, err := a.app.backend.lifecycle.Delete(r.Context(), a.provider, c.name, condition, force)
	if err != nil {
		return err
	}
	a.logger.Info("credential deleted", "provider", a.Provider, "revoked", revoked)
	return writeJSON(w, http.StatusOK, deletedBody{Deleted: true, Revoked: revoked})
}

// deletedBody says that a credential is gone, and whether it was ended at its provider.
type deletedBody struct {
	Deleted bool `json:"deleted"`
	Revoked bool `json:"revoked"`
}

// linkRequest says what a link to connect is to do.
type linkRequest struct {
	ReturnTo string `json:"return_to"`
}

// linkBody is a link to connect.
type linkBody struct {
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (a *API) answerLink(w http.ResponseWriter, r *http.Request, c *call) error {
	var body linkRequest
	if err := readJSON(r, true, &body); err != nil {
		return err
	}
	link, err := a.app.connectLink(r.Context(), a.Provider, c.name, body.ReturnTo)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, link)
}

var (
	errNotJSON  = &apiError{http.StatusUnsupportedMediaType, "request_invalid", "Content-Type is not application/json"}
	errTooLarge = &apiError{http.StatusRequestEntityTooLarge, "request_too_large", fmt.Sprintf("the body is larger than %d bytes", maxRequestBody)}
)

func badRequest(message string) *apiError {
	return &apiError{http.StatusBadRequest, "request_invalid", message}
}

// readChange reads what a tenant, or an operator, wants to be changed.
func readChange(r *http.Request, operator bool, change *lifecycle.Change) error {
	var body struct {
		Credentials json.RawMessage `json:"credentials"`
		Disabled    *bool           `json:"disabled"`
	}
	if err := readJSON(r, false, &body); err != nil {
		return err
	}
	if body.Disabled != nil && !operator {
		return &apiError{http.StatusForbidden, "access_denied", "disabled is for operators"}
	}
	if body.Credentials == nil && body.Disabled == nil {
		return badRequest("credentials are missing")
	}
	change.Document, change.Disabled = body.Credentials, body.Disabled
	return nil
}

// readJSON reads a body that is one JSON object with nothing unknown in it; optional
// says that there may be none.
func readJSON(r *http.Request, optional bool, target any) error {
	if contentType := r.Header.Get("Content-Type"); contentType != "" || !optional {
		if mediaType, _, _ := mime.ParseMediaType(contentType); mediaType != "application/json" {
			return errNotJSON
		}
	}
	body, err := readBody(r)
	if err != nil {
		return err
	}
	if len(body) == 0 && optional {
		return nil
	}
	if err := credential.CheckInput(body); err != nil {
		return badRequest("the body: " + strings.TrimPrefix(err.Error(), credential.ErrInvalid.Error()+": "))
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if !plainMembers(body) || decoder.Decode(target) != nil {
		return badRequest("the body has a member that is unknown or of the wrong type")
	}
	return nil
}

// readBody reads a body within its bound. What is a little above it is read, too, so
// that its sender comes to read the answer.
func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequestBody+1))
	if err != nil {
		return nil, badRequest("the body ended early")
	}
	if len(body) > maxRequestBody {
		_, _ = io.CopyN(io.Discard, r.Body, maxDrain)
		return nil, errTooLarge
	}
	return body, nil
}

// plainMembers reports whether the members of an object are spelled as all that the
// APIs know. The decoder takes others for the same, and of two the last.
func plainMembers(body []byte) bool {
	plain := true
	gjson.ParseBytes(body).ForEach(func(name, _ gjson.Result) bool {
		plain = strings.Trim(name.Str, "abcdefghijklmnopqrstuvwxyz_") == ""
		return plain
	})
	return plain
}

// entityTag is the ETag of a version.
func entityTag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

// precondition reads If-Match and If-None-Match (RFC 9110, section 13.1). One that is
// there and lists nothing holds for nothing: it may stand for a tag that was lost.
func precondition(header http.Header) (lifecycle.Precondition, error) {
	var p lifecycle.Precondition
	if len(header.Values("If-Match")) > 0 {
		p.Versions = []uint64{}
	}
	for value := range listed(header, "If-Match") {
		if value == "*" {
			p.Present, p.Versions = true, nil
			break
		}
		version, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 64)
		if err != nil || entityTag(version) != value {
			version = 0 // a tag that no version has
		}
		p.Versions = append(p.Versions, version)
	}
	if p.Absent = len(header.Values("If-None-Match")) > 0; p.Absent && header.Get("If-None-Match") != "*" {
		return p, badRequest("If-None-Match takes * alone")
	}
	return p, nil
}

// listed returns the members of a list header.
func listed(header http.Header, name string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, line := range header.Values(name) {
			for value := range strings.SplitSeq(line, ",") {
				if value = strings.TrimSpace(value); value != "" && !yield(value) {
					return
				}
			}
		}
	}
}
