package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// limitedAnswer is an answer that asks to wait for a while.
type limitedAnswer struct {
	status int
	header http.Header
}

// limitedFor is how long those of a trial ask to wait.
const limitedFor = 30 * time.Second

// readRetryAfter reads how an API says that too much is asked of it.
func (a *api) readRetryAfter() {
	if !a.facts.has("retry_after") {
		return
	}
	f := a.facts.object("retry_after")
	after, at := f.list("after"), f.list("at")
	args := []string{"retry_after"}
	for _, name := range append(after, at...) {
		if !strings.EqualFold(name, "Retry-After") {
			args = append(args, name)
		}
	}
	statuses, remaining := f.list("error_code"), f.text("remaining")
	if len(statuses) == 0 && remaining == "" {
		a.provider.add(args...)
	} else {
		a.provider.open(args...)
		if len(statuses) > 0 {
			a.provider.add(append([]string{"status"}, statuses...)...)
		}
		if remaining != "" {
			a.provider.add("remaining", remaining)
		}
		a.provider.end()
	}
	if len(statuses) == 0 {
		statuses = []string{"429"}
	}
	for _, text := range statuses {
		status, err := strconv.Atoi(strings.Replace(text, "xx", "03", 1))
		if err != nil {
			a.gap("retry_after: status %q", text)
		}
		for _, name := range after {
			a.limits(status, remaining, name, fmt.Sprint(int(limitedFor.Seconds())))
		}
		for _, name := range at {
			a.limits(status, remaining, name, fmt.Sprint(time.Now().Add(limitedFor).Unix()))
		}
	}
}

func (a *api) limits(status int, remaining, name, value string) {
	header := make(http.Header)
	header.Set(name, value)
	if remaining != "" {
		header.Set(remaining, "0")
	}
	a.limited = append(a.limited, limitedAnswer{status, header})
}

// tryRetryAfter has the provider look at such answers.
func (t *trial) tryRetryAfter() {
	for i, answer := range t.limited {
		if _, asked := t.provider.RetryAfter.Heed(credential.Tenant(fmt.Sprint("tenant-", i)), answer.status, answer.header); !asked {
			t.gap("an answer of %d with %v is not heeded", answer.status, answer.header)
		}
	}
}
