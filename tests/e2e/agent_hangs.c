/* An executable that comes up as an agent and never serves: what an upgrade is rolled back from. */
#include <unistd.h>

int main(void) {
    for (;;)
        pause();
}
