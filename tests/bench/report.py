"""The table, in Markdown: a row a case.

SPDX-License-Identifier: Apache-2.0
"""
HEAD = ('what', 'ours', 'stock', 'faster', 'flushed', 'cpu', 'peak MiB', 'stock', 'size', 'floor', 'goal', 'reached')


def seconds(value):
    return f'{value * 1000:.1f} ms' if value < 0.1 else f'{value:.2f} s'


def times(value):
    if value is None:
        return ''
    return f'{value:.2f} x' if value < 10 else f'{value:.0f} x'


def goal(case):
    words = [f'{case.goal:g} x'] if case.goal else []
    words += ['constant'] if case.constant else []
    words += [f'size {case.size_most:g}'] if case.size_most else []
    return ', '.join(words)


def misses(figures):
    """What is not reached, each in a word or two."""
    case, found = figures.case, list(figures.differences)
    if case.goal and figures.wall_ratio < case.goal:
        found.append('time, but for the flush' if case.flushes and figures.flush_ratio >= case.goal else 'time')
    if case.constant and figures.constant > 2:
        found.append(f'grows {figures.constant:.1f} x')
    if case.size_most and figures.size_ratio > case.size_most:
        found.append('size')
    if figures.ours.peak > max(figures.stock.peak, case.tables / 1024):
        found.append('memory')
    return found


def cells(figures):
    ours, stock = figures.ours, figures.stock
    return (figures.case.name, seconds(ours.wall), seconds(stock.wall), times(figures.wall_ratio),
            times(figures.flush_ratio), times(figures.cpu_ratio), f'{ours.peak / 1024:.1f}', f'{stock.peak / 1024:.1f}',
            f'{figures.size_ratio:.3f}' if figures.size_ratio else '',
            seconds(figures.floor) if figures.floor else '', goal(figures.case),
            ', '.join(misses(figures)) or 'yes')


def line(row):
    return '| ' + ' | '.join(row) + ' |'


def table(all_figures):
    return '\n'.join([line(HEAD), line(['---'] * len(HEAD)), *(line(cells(figures)) for figures in all_figures)])


def growth_table(growth):
    rows = [line(('disk', *growth)), line(['---'] * (len(growth) + 1))]
    for index, (size, _, _) in enumerate(next(iter(growth.values()))):
        rows.append(line((f'{size >> 30} GiB', *(f'{seconds(points[index][1])} ({seconds(points[index][2])})'
                                                 for points in growth.values()))))
    return '\n'.join(rows)
