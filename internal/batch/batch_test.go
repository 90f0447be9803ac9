package batch_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/roomline/roomline/internal/batch"
)

func TestWhoeverComesMeanwhileIsServedTogether(t *testing.T) {
	t.Parallel()
	var done sync.WaitGroup
	begun, goOn := make(chan struct{}), make(chan struct{})
	var served [][]int // by one at a time
	q := batch.New(3, func(list []int) {
		if len(served) == 0 {
			close(begun)
			<-goOn
		}
		served = append(served, list)
		for range list {
			done.Done()
		}
	})
	done.Add(8)
	q.Put(0)
	<-begun
	for i := 1; i < 8; i++ {
		q.Put(i)
	}
	close(goOn)
	done.Wait()
	if !slices.EqualFunc(served, [][]int{{0}, {1, 2, 3}, {4, 5, 6}, {7}}, slices.Equal) {
		t.Fatalf("served %v", served)
	}
	done.Add(1)
	q.Put(8) // after all were served
	done.Wait()
}
