// Package stack has a stack.
package stack

import "errors"

// ErrEmpty is returned by Pop.
var ErrEmpty = errors.New("empty")

const MaxDepth = 100

const (
	modeRead = iota
	// modeWrite is for writers.
	modeWrite
)

var (
	count, peak int
)

// Stack is a stack of values.
type Stack[T any] struct {
	items []T
	size, limit int
	sync.Mutex
}

type Reader interface {
	Read(p []byte) (n int, err error)
	Closer
}

type (
	ID    int64
	Names = map[ID]string
)

// New makes a stack.
func New[T any](limit int) *Stack[T] {
	local := 1
	_ = local
	return &Stack[T]{limit: limit}
}

// Push adds a value.
func (s *Stack[T]) Push(value T) error {
	const inner = 3
	helper := func() {}
	helper()
	s.items = append(s.items, value)
	return nil
}

func (id ID) String() string { return "" }
