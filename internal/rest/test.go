package rest

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// TestRequest says how a credential is tested.
type TestRequest struct {
	// Refresh has one that is answered 401 refreshed, and tested once more.
	Refresh bool `json:"refresh,omitempty"`
}

// TestResult is what came of a test.
type TestResult struct {
	OK bool `json:"ok"`

	// Status is the upstream's answer; there is none if it did not answer.
	Status int `json:"status,omitempty"`

	// DurationMS is how many milliseconds it took.
	DurationMS int64 `json:"duration_ms"`

	// Version is that of the credential, and Refreshed says that it was refreshed for this.
	Version   uint64 `json:"version"`
	Refreshed bool   `json:"refreshed,omitempty"`

	// Message says the same in words, and ToDo what to do.
	Message string `json:"message"`
	ToDo    string `json:"to_do,omitempty"`
}

var errNoTest = &Error{http.StatusConflict, "test_not_configured", "the provider has no test: write test and the URL of something harmless into its block, as in test https://api.example.com/me"}

// Test makes the provider's test with a tenant's credential.
func (c *Collection) Test(w http.ResponseWriter, r *http.Request, tenant credential.Tenant) error {
	var body TestRequest
	if err := readOptional(r, &body); err != nil {
		return err
	}
	if body.Refresh && c.Provider.Renewer == nil {
		return errNotRefreshable
	}
	tested, err := c.Credentials.Test(r.Context(), c.Provider, tenant, body.Refresh)
	if errors.Is(err, upstream.ErrNoTest) {
		return errNoTest
	}
	if err != nil {
		return err
	}
	c.Logger.Info("credential tested", "provider", c.Provider.Name, "ok", tested.Err == nil, "status", tested.Status, "version", tested.Credential.Version(), "by", c.By)
	return WriteJSON(w, http.StatusOK, c.tell(tested))
}

func (c *Collection) tell(t *upstream.Tested) TestResult {
	result := TestResult{
		OK: t.Err == nil, Status: t.Status, DurationMS: t.Took.Milliseconds(), Version: t.Credential.Version(), Refreshed: t.Renewed,
		Message: fmt.Sprintf("the upstream answered %d to the test of the credential", t.Status),
	}
	if t.Err != nil {
		result.Message = t.Err.Error()
		result.ToDo = c.toDo(t)
	}
	if t.Expired != nil {
		result.Message += "; its token has expired and could not be refreshed"
	}
	return result
}

// toDo says what to do after a test that failed.
func (c *Collection) toDo(t *upstream.Tested) string {
	switch status := t.Status; {
	case errors.Is(t.Err, credential.ErrInvalid) && status == 0:
		return "Bring another credential: this one lacks what the test needs of it."
	case status == 0:
		return "Check that the host of the provider's test can be reached from here, and is one of allowed_hosts."
	case status == http.StatusUnauthorized && c.Provider.Renewer != nil && !t.Renewed && t.Expired == nil:
		return "Test it once more with refresh, to see whether a fresh token is accepted."
	case status == http.StatusUnauthorized:
		return "Bring another credential, or have somebody authorize anew: the upstream does not accept this one."
	case status == http.StatusForbidden:
		return "Check what the account behind the credential may do: the upstream knows it, and forbids this."
	case status == http.StatusTooManyRequests, status >= 500:
		return "Try again later: this says nothing of the credential."
	}
	return "Check the URL of the provider's test, from where redirects are not followed, and the status codes that it takes for success."
}
