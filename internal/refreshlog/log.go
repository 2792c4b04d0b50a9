// Package refreshlog logs what happens to credentials.
package refreshlog

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/explain"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal"
)

const (
	// maxRepeated is how often the same trouble is logged within repeatInterval.
	maxRepeated    = 3
	repeatInterval = 5 * time.Minute

	// maxTroubles bounds the memory of what was logged.
	maxTroubles = 1000
)

// Log logs what happens to credentials, with the logger of the newest
// configuration, and never with a tenant's name. Trouble that is the same for many
// requests and tenants is logged a few times, and then not until repeatInterval has
// passed.
type Log struct {
	logger atomic.Pointer[slog.Logger]

	mu       sync.Mutex
	repeated map[trouble]*repetition
}

// trouble is what makes two lines say the same.
type trouble struct {
	provider, message, err, code string
	status                       int
}

// repetition is how often a trouble came since a time.
type repetition struct {
	since time.Time
	times int
}

// New makes one that writes to logger until it gets another.
func New(logger *slog.Logger) *Log {
	l := &Log{repeated: make(map[trouble]*repetition)}
	l.logger.Store(logger)
	return l
}

// Observe is an observer for [renew.Options].
func (l *Log) Observe(e renew.Event) {
	level, message := lineOf(&e)
	logger := l.logger.Load()
	if !logger.Enabled(context.Background(), level) {
		return
	}
	var suppressed int
	if level >= slog.LevelWarn {
		t := trouble{provider: e.Provider, message: message, status: e.Status, code: e.Code}
		if e.Err != nil {
			t.err = e.Err.Error()
		}
		var again bool
		if again, suppressed = l.repeats(t, e.At); again {
			return
		}
	}
	attributes := attributesOf(&e)
	if suppressed > 0 {
		attributes = append(attributes, slog.Int("repeated", suppressed))
	}
	logger.LogAttrs(context.Background(), level, message, attributes...)
}

// SetLogger makes logger the one that is written to from now on.
func (l *Log) SetLogger(logger *slog.Logger) { l.logger.Store(logger) }

// repeats reports whether t has been logged often enough for now, and if not, how often
// it was not logged before.
func (l *Log) repeats(t trouble, now time.Time) (again bool, suppressed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.repeated[t]
	if r == nil {
		if len(l.repeated) >= maxTroubles {
			clear(l.repeated) // a few lines too many, in place of memory without end
		}
		r = &repetition{since: now}
		l.repeated[t] = r
	}
	if now.Sub(r.since) >= repeatInterval {
		suppressed = max(0, r.times-maxRepeated)
		*r = repetition{since: now}
	}
	r.times++
	return r.times > maxRepeated, suppressed
}

// lineOf returns how grave an event is, and what its line says.
func lineOf(e *renew.Event) (slog.Level, string) {
	switch e.Kind {
	case renew.Claimed:
		return slog.LevelDebug, "refresh token claimed"
	case renew.Refreshed:
		return slog.LevelInfo, "credential refreshed"
	case renew.Refused:
		return slog.LevelWarn, "refresh failed for good"
	case renew.TakenOver:
		return slog.LevelWarn, "a claim is taken over, as nothing was heard of its owner"
	case renew.SentAgain:
		return slog.LevelWarn, "a refresh token is sent again, as nobody has the answer to its first sending"
	case renew.Waiting:
		if e.ClaimAge > explain.NormalRefresh {
			return slog.LevelWarn, "an old claim of another process is waited for"
		}
		return slog.LevelDebug, "another process refreshes, and is waited for"
	case renew.Deleted:
		return slog.LevelInfo, "no refresh, as the credential was deleted"
	case renew.Disabled:
		return slog.LevelInfo, "no refresh, as an operator has disabled it"
	case renew.JournalFailed:
		if e.Cooldown > 0 {
			return slog.LevelError, "no refresh without a journal: its answer could be lost"
		}
		return slog.LevelError, "new tokens are in memory only: the journal cannot be written"
	case renew.CommitDelayed:
		return slog.LevelError, "a refreshed credential waits for the store to take it"
	case renew.Adopted:
		return slog.LevelWarn, "an exited process left a refresh unfinished"
	case renew.Rejected:
		return slog.LevelWarn, "upstream rejected a refreshed credential"
	case renew.Panicked:
		return slog.LevelError, "a defect of this program ended a refresh"
	}
	return slog.LevelWarn, "refresh failed"
}

// attributesOf tells what is known of an event.
func attributesOf(e *renew.Event) []slog.Attr {
	attributes := []slog.Attr{slog.String("provider", e.Provider), slog.String("outcome", string(e.Kind))}
	add := func(known bool, a slog.Attr) {
		if known {
			attributes = append(attributes, a)
		}
	}
	add(e.Err != nil, slog.Any("error", e.Err))
	add(e.Status != 0, slog.Int("status", e.Status))
	add(e.Code != "", slog.String("oauth2_error", e.Code))
	add(e.Description != "", slog.String("error_description", e.Description))
	add(e.Duration > 0, slog.Duration("duration", e.Duration))
	add(e.ClaimAge > 0, slog.Duration("claimed_for", e.ClaimAge))
	add(!e.TakeoverAt.IsZero(), slog.Time("taken_over_at", e.TakeoverAt))
	add(e.Count > 1, slog.Int("in_a_row", e.Count))
	add(e.Cooldown > 0, slog.Duration("cooldown", e.Cooldown))
	add(e.FromJournal, slog.Bool("from_journal", true))
	add(e.Stack != "", slog.String("stack", e.Stack))
	return attributes
}

// ObserveJournal is told of a journal that is left as it is.
func (l *Log) ObserveJournal(file *journal.FileError) {
	logger := l.logger.Load()
	if errors.Is(file, journal.ErrForeign) {
		logger.Info("a journal is left to its own store", "error", file)
		return
	}
	logger.Error("a journal is left as it is; somebody has to look at it", "error", file, "answers_in_it", len(file.Answered))
}
